"""Many runs at once give what a plain call of the same functions gives."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from celesta.client import Client
from tests.e2e.conftest import WORKFLOWS
from tests.e2e.workflows import dags
from tests.fixtures.stack import Stack

RUNS = 10


def test_ten_runs_of_two_projects_at_once_all_equal_their_oracles(stack: Stack) -> None:
    projects = {name: f"{name}-{uuid4().hex[:6]}" for name in ("alpha", "beta")}
    for project in projects.values():
        with Client(stack.url) as client:
            client.create_project(project)
        stack.cli("register", WORKFLOWS / "dags.py", "--project", project)

    def run(number: int) -> tuple[str, int, dict[str, object]]:
        name, seed = ("alpha", "beta")[number % 2], 1 + number // 4  # seeds meet: single-flight has something to do
        with Client(stack.url, project=projects[name]) as client:
            launched = client.launch(name, {"seed": seed})
            return name, seed, client.wait(launched["run_id"], timeout=60)

    with ThreadPoolExecutor(RUNS) as pool:
        ended = list(pool.map(run, range(RUNS)))
    for name, seed, document in ended:
        assert document["status"] == "succeeded", document["error"]
        assert document["outputs"] == {"result": getattr(dags, name)(seed=seed)}
        counts = document["steps"]
        assert sum(counts[state] for state in counts if state != "total") == counts["total"]
