"""A step that misbehaves shows it in its run; the worker and the next step do not notice."""

from pathlib import Path
from typing import Any

import psutil
import pytest

from celesta.client import Client
from tests.e2e.conftest import WORKFLOWS
from tests.fixtures.processes import SOON_SECONDS, wait_until
from tests.fixtures.stack import Stack

NASTY = WORKFLOWS / "nasty.py"


def failed(stack: Stack, project: str, name: str) -> dict[str, Any]:
    """The error of a run of this step, as the server tells it."""
    run = stack.json("run", NASTY, name, "--project", project, status=1)
    with Client(stack.url, project=project) as client:
        document = client.run(run["run_id"])
    assert document["status"] == "failed"
    return dict(document["error"])


def log_of(stack: Stack, project: str, run_id: str) -> bytes:
    with Client(stack.url, project=project) as client:
        (step,) = client.steps(run_id)
        return b"".join(client.log(run_id, step["node"]))


def workers_of(stack: Stack) -> set[int]:
    return {p["pid"] for p in stack.processes() if p["role"] == "worker"}


@pytest.mark.parametrize("name", ["leave", "crash", "refuse"])
def test_a_step_that_ends_its_process_fails_and_the_next_runs(stack: Stack, project: str, name: str) -> None:
    workers = workers_of(stack)
    error = failed(stack, project, name)
    assert error["path"] == name
    assert error["message"], "the error says how it ended"
    assert stack.json("run", NASTY, "leaks", "--project", project)["status"] == "succeeded"
    assert workers_of(stack) == workers, "no worker was restarted"


def test_a_crash_names_its_signal_and_an_exit_its_status(stack: Stack, project: str) -> None:
    assert "SIGSEGV" in failed(stack, project, "crash")["message"]
    assert "3" in failed(stack, project, "leave")["message"]


def test_a_step_that_answers_by_itself_fails_and_its_run_ends(stack: Stack, project: str) -> None:
    error = failed(stack, project, "forge")
    assert (error["type"], error["kind"]) == ("InvalidResult", "user")
    assert "outputs" in error["message"], "it says what is wrong with the result"


def test_a_global_and_a_thread_of_one_step_are_invisible_to_the_next(stack: Stack, project: str) -> None:
    assert stack.json("run", NASTY, "leaks", "--project", project)["outputs"] == {"result": 0}


def test_a_fork_left_behind_ends_with_its_step(stack: Stack, project: str) -> None:
    run = stack.json("run", NASTY, "fork", "--project", project)
    assert run["status"] == "succeeded"
    assert run["duration_seconds"] < SOON_SECONDS, "nobody waits for the grandchild"
    wait_until(lambda: not psutil.pid_exists(run["outputs"]["result"]), 10, "the end of what the step left behind")


def test_what_a_c_library_prints_is_in_the_log_too(stack: Stack, project: str) -> None:
    run = stack.json("run", NASTY, "speak_c", "--project", project)
    log = log_of(stack, project, run["run_id"])
    assert b"said by a C library" in log
    assert b"said by Python" in log


def test_megabytes_of_output_are_kept_and_do_not_stop_the_step(stack: Stack, project: str, tmp_path: Path) -> None:
    run = stack.json("run", NASTY, "shout", "--megabytes", 5, "--project", project)
    assert run["outputs"] == {"result": 5}
    assert len(log_of(stack, project, run["run_id"])) > 1_000_000
