"""Writing specs: a traced workflow as data, with everything that it names in the blobs beside it."""

import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celesta.errors import NotFoundError, SpecError
from celesta.loading import load_file
from celesta.spec import spec_digest, validate, workflow_spec

FLOW = '''
from dataclasses import dataclass
from typing import NamedTuple
from celesta.graph import unmapped
from celesta.options import Resources
from celesta.tasks import task
from celesta.workflows import workflow
from sdk_helpers import scale

class Fit(NamedTuple):
    model: str
    score: float

@dataclass
class Point:
    c: float

@task
def load(n: int = 3) -> list[int]:
    """Numbers below n."""
    return list(range(n))

@task(cache=True, retries=2, resources=Resources(cpu=2, memory="1Gi"))
def fit(data: list[int], point: Point, rate: float = 0.5) -> Fit:
    return Fit("m", scale(rate))

@task
def best(scores: list[float], names: dict[str, str]) -> float:
    return max(scores)

@workflow
def search(n: int = 4, rates: list[float] = [0.1, 0.2]) -> float:
    """Find the best."""
    data = load(n=n)
    grid = fit.map(data=unmapped(data), point=[Point(1), Point(2.0)], rate=rates)
    one = fit.with_options(name="one", cache=False, after=[grid])(data, Point(3))
    return best([one.score, 1], {"one": one.model, "two": "x"})
'''


@pytest.fixture
def flow(tmp_path: Path) -> Iterator[Any]:
    path = list(sys.path)
    (tmp_path / "sdk_written.py").write_text(FLOW)
    (tmp_path / "sdk_helpers.py").write_text("def scale(x): return x * 2\n")
    yield load_file(tmp_path / "sdk_written.py")
    sys.path[:] = path


def test_a_workflow_is_written_as_the_contracts_say(flow: Any) -> None:
    spec, blobs = workflow_spec(flow.find("search"))
    assert validate(spec) == []
    assert {key: spec[key] for key in ("celesta", "name", "doc", "git")} == {
        "celesta": 1, "name": "search", "doc": "Find the best.", "git": None,
    }  # fmt: skip
    assert spec["python"] == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert [one["path"] for one in spec["steps"]] == ["load", "fit", "one", "best"]
    assert spec["outputs"] == {"result": {"step": "best", "output": "result"}}
    assert spec["bundle"] in blobs
    names = zipfile.ZipFile(io.BytesIO(blobs[spec["bundle"]])).namelist()
    assert names == ["sdk_helpers.py", "sdk_written.py"]


def test_a_task_is_written_with_its_options_code_and_source(flow: Any) -> None:
    fit = workflow_spec(flow.find("search"))[0]["tasks"]["fit"]
    assert fit["entrypoint"] == "sdk_written:fit"
    assert len(fit["code_digest"]) == 64
    assert fit["cache"]["version"] is None
    assert fit["retry"]["max"] == 2
    assert fit["resources"] == {"cpu": 2.0, "memory_bytes": 1 << 30, "gpu": 0}
    assert (fit["timeout_seconds"], fit["env"], fit["secrets"], fit["executor"]) == (None, {}, [], None)
    assert fit["source"].startswith("@task(cache=True")
    assert [port["name"] for port in fit["interface"]["outputs"]] == ["model", "score"]
    assert fit["interface"]["inputs"][2]["default"]["inline"] == {"f": "0x1.0000000000000p-1"}


def test_bindings_tell_values_inputs_steps_lists_and_dicts_apart(flow: Any) -> None:
    load, grid, one, best = workflow_spec(flow.find("search"))[0]["steps"]
    assert load["inputs"] == {"n": {"input": "n"}}
    assert grid["map"] == ["point", "rate"]
    assert grid["inputs"]["data"] == {"step": "load", "output": "result"}
    assert grid["inputs"]["point"]["value"]["length"] == 2
    assert one["after"] == ["fit"]
    assert one["options"] == {"cache": None}
    assert one["inputs"]["rate"]["value"]["type"] == "json"
    assert best["inputs"]["scores"]["list"][0] == {"step": "one", "output": "score"}
    assert best["inputs"]["scores"]["list"][1]["value"]["inline"] == {"f": "0x1.0000000000000p+0"}
    assert best["inputs"]["names"]["dict"]["one"] == {"step": "one", "output": "model"}


def test_a_single_task_is_written_as_a_workflow_of_one_step(flow: Any) -> None:
    spec, _ = workflow_spec(flow.find("fit"))
    assert validate(spec) == []
    assert spec["name"] == "fit"
    assert spec["steps"][0]["inputs"] == {name: {"input": name} for name in ("data", "point", "rate")}
    assert spec["outputs"]["score"] == {"step": "fit", "output": "score"}


def test_the_same_code_is_the_same_version(flow: Any, tmp_path: Path) -> None:
    first = spec_digest(workflow_spec(flow.find("search"))[0])
    again = load_file(tmp_path / "sdk_written.py").find("search")
    assert spec_digest(workflow_spec(again)[0]) == first
    (tmp_path / "sdk_helpers.py").write_text("def scale(x): return x * 3\n")
    changed = workflow_spec(load_file(tmp_path / "sdk_written.py").find("search"))[0]
    assert spec_digest(changed) != first


def test_large_constants_are_among_the_blobs(tmp_path: Path, flow: Any) -> None:
    (tmp_path / "sdk_large.py").write_text(
        "from celesta.tasks import task\nfrom celesta.workflows import workflow\n"
        "@task\ndef size(x: list[int], t: str) -> int: return len(x)\n"
        "@workflow\ndef flow() -> int: return size(list(range(1000)), 'x' * 5000)\n"
    )
    spec, blobs = workflow_spec(load_file(tmp_path / "sdk_large.py").find("flow"))
    inputs = spec["steps"][0]["inputs"]
    assert {inputs["x"]["value"]["blob"], inputs["t"]["value"]["blob"], spec["bundle"]} == set(blobs)


HEAD = "import sys\nfrom celesta.tasks import task\nfrom celesta.workflows import workflow\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def make():\n    @task\n    def a() -> int: return 1\n    return a\nb = make()\n"
         "@workflow\ndef flow() -> int: return b()\n", "defined inside a function"),
        ("def a() -> int: return 1\nb = task(name='b')(a)\na = 3\n@workflow\ndef flow() -> int: return b()\n",
         "decorate the function in place"),
        ("LOG = sys.__stderr__\n@task(cache=True)\ndef a() -> str: return LOG.name\n"
         "@workflow\ndef flow() -> str: return a()\n", 'a -> LOG" is an open file'),
        ("@task\ndef a(x: dict) -> int: return 1\n@workflow\ndef flow() -> int:\n    return a({'f': print})\n",
         'sdk_refused.py:8: a: input "x" cannot be stored'),
    ],
)  # fmt: skip
def test_what_a_step_could_not_import_or_read_is_refused(tmp_path: Path, flow: Any, text: str, told: str) -> None:
    (tmp_path / "sdk_refused.py").write_text(HEAD + text)
    with pytest.raises(Exception) as caught:  # noqa: PT011
        workflow_spec(load_file(tmp_path / "sdk_refused.py").find("flow"))
    assert told in str(caught.value)


def test_an_uncached_task_may_reach_what_has_no_digest(tmp_path: Path, flow: Any) -> None:
    (tmp_path / "sdk_open.py").write_text(HEAD + "LOG = sys.__stderr__\n@task\ndef a() -> str: return LOG.name\n")
    task = load_file(tmp_path / "sdk_open.py").find("a")
    assert len(workflow_spec(task)[0]["tasks"]["a"]["code_digest"]) == 64
    with pytest.raises(SpecError, match="neither a workflow nor a task"):
        workflow_spec(3)
    with pytest.raises(NotFoundError, match="is not there"):
        workflow_spec(task, file=str(tmp_path / "gone.py"))


def test_a_script_names_its_own_module_as_steps_will_import_it(tmp_path: Path, flow: Any) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "sdk_scripts").mkdir()
    script = tmp_path / "sdk_scripts" / "run.py"
    script.write_text(
        HEAD + "from dataclasses import dataclass\n@dataclass\nclass P:\n    c: int = 1\n"
        "@task\ndef a(p: P = P()) -> int: return p.c\n"
        "if __name__ == '__main__':\n    from celesta.spec import workflow_spec\n    import json\n"
        "    spec = workflow_spec(a)[0]\n"
        "    print(json.dumps(spec['tasks']['a']))\n"
        "    from celesta.codecs import decode\n"
        "    port = spec['interface']['inputs'][0]\n"
        "    print(type(decode(port['default'], port['type'], None, None)) is P)\n"
    )
    ran = subprocess.run(
        [sys.executable, str(script)], env={"PYTHONPATH": str(Path.cwd())}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert '"entrypoint": "sdk_scripts.run:a"' in ran.stdout, ran.stderr
    assert '"name": "sdk_scripts.run:P"' in ran.stdout
    assert "__main__" not in ran.stdout
    assert ran.stdout.endswith("True\n")


def test_a_commit_is_recorded_with_whether_files_differ(tmp_path: Path, flow: Any) -> None:
    def git(*args: str) -> None:
        run = ["git", "-c", "user.name=t", "-c", "user.email=t@t", *args]
        subprocess.run(run, cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    found = workflow_spec(flow.find("search"))[0]["git"]
    assert (len(found["commit"]), found["dirty"]) == (40, False)
    (tmp_path / "sdk_helpers.py").write_text("def scale(x): return x\n")
    assert workflow_spec(flow.find("search"))[0]["git"]["dirty"] is True


def test_what_is_said_of_whole_runs_is_part_of_the_spec(flow: Any) -> None:
    search = flow.find("search")
    search.options = {"timeout_seconds": 60.0, "policy": "fail_fast"}
    spec, _ = workflow_spec(search)
    assert (spec["timeout_seconds"], spec["policy"]) == (60.0, "fail_fast")
    assert validate(spec) == []
    assert [p.where for p in validate(spec | {"timeout_seconds": 0, "policy": "stop"})] == ["policy", "timeout_seconds"]


ON_FAILURE = """
from celesta import task, webhook, workflow

@task
def load(n: int = 1) -> int:
    return n

@task
def tell(failure: dict, n: int = 0) -> str:
    return failure["type"]

def both(failure, n):
    told = tell(failure=failure, n=n)
    webhook(url="https://example.com/hook", body={"what": failure, "told": told})

@workflow(on_failure=both)
def with_function(n: int = 4) -> int:
    return load(n=n)

@workflow(on_failure=tell)
def with_task(n: int = 4) -> int:
    return load(n=n)
"""


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[Any]:
    path = list(sys.path)
    (tmp_path / "sdk_failing.py").write_text(ON_FAILURE)
    yield load_file(tmp_path / "sdk_failing.py")
    sys.path[:] = path


def test_what_runs_on_a_failure_is_part_of_the_spec(failing: Any) -> None:
    spec, _ = workflow_spec(failing.find("with_function"))
    load, tell, hook = spec["steps"]
    assert "on_failure" not in load
    assert (tell["path"], tell["on_failure"]) == ("on_failure/tell", True)
    assert tell["inputs"] == {"failure": {"failure": True}, "n": {"input": "n"}}
    assert hook["path"] == "on_failure/webhook"
    assert hook["inputs"]["body"] == {
        "dict": {"what": {"failure": True}, "told": {"step": "on_failure/tell", "output": "result"}}
    }
    assert spec["tasks"]["webhook"]["entrypoint"] == "celesta.webhooks:webhook"
    spec, _ = workflow_spec(failing.find("with_task"))
    assert spec["steps"][1]["inputs"]["failure"] == {"failure": True}


def test_what_runs_on_a_failure_and_what_does_not_never_wait_for_each_other(failing: Any) -> None:
    spec, _ = workflow_spec(failing.find("with_function"))
    spec["steps"][1]["after"] = ["load"]
    assert [p.where for p in validate(spec)] == ["steps.on_failure/tell"]
    spec["steps"][1]["after"] = []
    spec["steps"][0]["inputs"]["n"] = {"failure": True}
    assert [p.where for p in validate(spec)] == ["steps.load.inputs.n"]


def test_what_runs_on_a_failure_is_checked_when_it_is_traced(failing: Any) -> None:
    search = failing.find("with_task")
    for wrong, told in (
        (lambda failure, m: None, 'takes "m", which it cannot be given; it may take failure, n'),
        (lambda failure: None, "calls tasks, at least one"),
    ):
        search.on_failure = wrong
        with pytest.raises(SpecError, match=told):
            workflow_spec(search)
