"""A whole stack whose steps are pods: an API server over HTTP, and a kubelet that runs the manifests as processes."""

import json
import os
import signal
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.cluster import TestCluster
from tests.fixtures.home import short_directory
from tests.fixtures.kubelet import Kubelet
from tests.fixtures.processes import wait_until
from tests.fixtures.stack import STACKS, Stack, running_stack

FLOWS = Path(__file__).parent / "workflows" / "pods.py"
DIGITS = Path(__file__).parents[2] / "examples" / "digits.py"
# The interpreter that this environment was made from: it has no Celesta and none of its dependencies.
BARE_PYTHON = str(Path(sys.base_prefix, "bin", f"python{sysconfig.get_python_version()}"))


@dataclass
class PodStack:
    """The stack, its cluster and its node."""

    stack: Stack
    cluster: TestCluster
    kubelet: Kubelet

    def run(self, workflow: str, *arguments: object, status: int = 0) -> Any:
        return self.stack.json("run", FLOWS, workflow, "--wait", *arguments, status=status, timeout=180)

    def pod_names(self) -> list[str]:
        return self.cluster.names()


@pytest.fixture(scope="module")
def pod_stack() -> Iterator[PodStack]:
    with short_directory("celesta-pods-") as folder:
        cluster = TestCluster(folder)
        env = {"PATH": os.environ["PATH"]}
        kubelet = Kubelet(cluster, folder / "node", BARE_PYTHON, env, {"THE_PASSWORD": "emases"})
        settings = {"CELESTA_EXECUTOR": "kubernetes", "KUBECONFIG": str(cluster.kubeconfig)}
        try:
            with running_stack("--workers", 1, **settings) as stack:
                yield PodStack(stack, cluster, kubelet)
        finally:
            kubelet.close()
            cluster.close()


@pytest.fixture(autouse=True)
def show_logs(pod_stack: PodStack, request: pytest.FixtureRequest) -> None:
    request.node.stash.setdefault(STACKS, []).append(pod_stack.stack)


def last_error(pods: PodStack, run: str, path: str) -> dict[str, Any]:
    from celesta.client import Client

    with Client(pods.stack.url) as client:
        return dict(client.step(run, path)["error"])


def test_python_and_commands_run_in_pods_of_nothing_but_their_images(pod_stack: PodStack) -> None:
    done = pod_stack.run("echo", "--word", "hello")
    assert done["outputs"] == {"result": "HELLO"}
    assert done["steps"]["succeeded"] == 3
    assert sum(done["run_id"] in name for name in pod_stack.pod_names()) == 3
    log = pod_stack.stack.cli("runs", "logs", done["run_id"]).stdout
    assert "whispering hello" in log
    assert "shouted" in log


def test_a_step_that_was_cached_is_no_pod(pod_stack: PodStack) -> None:
    pod_stack.run("echo", "--word", "again")
    before = len(pod_stack.pod_names())
    done = pod_stack.run("echo", "--word", "again")
    assert done["steps"]["cached"] == 1
    assert len(pod_stack.pod_names()) == before + 2


def test_secrets_are_read_where_the_step_runs(pod_stack: PodStack) -> None:
    assert pod_stack.run("secret")["outputs"] == {"result": 6}


@pytest.mark.parametrize(
    ("workflow", "type_", "kind"),
    [
        ("fail", "ValueError", "user"),
        ("leave", "ProcessExited", "user"),
        ("too_long", "Timeout", "timeout"),
        ("too_long_a_command", "Timeout", "timeout"),
    ],
)
def test_what_fails_in_a_pod_fails_as_anywhere_else(pod_stack: PodStack, workflow: str, type_: str, kind: str) -> None:
    done = pod_stack.run(workflow, status=1)
    error = last_error(pod_stack, done["run_id"], workflow)
    assert (error["type"], error["kind"]) == (type_, kind)


def test_a_pod_that_is_taken_away_is_launched_again(pod_stack: PodStack) -> None:
    before = set(pod_stack.pod_names())
    run = json.loads(pod_stack.stack.cli("run", FLOWS, "stay", "--seconds", 2, "--no-wait", "--json").stdout)["run_id"]
    wait_until(lambda: [n for n in set(pod_stack.pod_names()) - before if _running(pod_stack, n)], 60, "a running pod")
    (name,) = set(pod_stack.pod_names()) - before
    pod_stack.cluster.remove(name, "celesta-default")
    wait_until(lambda: pod_stack.stack.json("runs", "show", run)["status"] == "succeeded", 60, "the second attempt")


def test_a_pod_that_ends_while_no_watcher_lives_counts_once(pod_stack: PodStack) -> None:
    before = set(pod_stack.pod_names())
    run = json.loads(pod_stack.stack.cli("run", FLOWS, "stay", "--seconds", 1, "--no-wait", "--json").stdout)["run_id"]
    wait_until(lambda: [n for n in set(pod_stack.pod_names()) - before if _running(pod_stack, n)], 60, "a running pod")
    (watcher,) = [one["pid"] for one in pod_stack.stack.processes() if one["role"] == "watcher"]
    os.kill(watcher, signal.SIGKILL)
    wait_until(lambda: pod_stack.stack.json("runs", "show", run)["status"] == "succeeded", 60, "the end of the run")
    assert len(set(pod_stack.pod_names()) - before) == 1


def test_a_cancelled_run_leaves_no_pod(pod_stack: PodStack) -> None:
    before = set(pod_stack.pod_names())
    run = json.loads(pod_stack.stack.cli("run", FLOWS, "stay", "--no-wait", "--json").stdout)["run_id"]
    wait_until(lambda: [n for n in set(pod_stack.pod_names()) - before if _running(pod_stack, n)], 60, "a running pod")
    pod_stack.stack.cli("runs", "cancel", run)
    wait_until(lambda: set(pod_stack.pod_names()) == before, 30, "the pod's end")
    wait_until(lambda: pod_stack.stack.json("runs", "show", run)["status"] == "cancelled", 30, "the run's end")


def _running(pods: PodStack, name: str) -> bool:
    return bool(pods.cluster.pod(name, "celesta-default")["status"].get("phase") == "Running")


def test_the_digits_example_runs_in_pods(pod_stack: PodStack) -> None:
    pod_stack.kubelet.python = sys.executable  # an image with scikit-learn in it
    done = pod_stack.stack.json(
        "run", DIGITS, "digits", "--c", "[1.0, 10.0]", "--gamma", "[0.001]", "--wait", timeout=110
    )
    assert done["status"] == "succeeded"
    assert done["steps"]["failed"] == 0
