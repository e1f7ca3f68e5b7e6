"""SIGKILL in the middle of a run only delays it."""

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.e2e.conftest import WORKFLOWS
from tests.fixtures.processes import wait_until
from tests.fixtures.stack import CELESTA, Stack

LEASE = {"CELESTA_LEASE_SECONDS": "2"}
SLOW = WORKFLOWS / "slow.py"


def naps_in_the_middle(stack: Stack) -> "subprocess.Popen[str]":
    """Start a run of twelve naps and return when some of them are done and some are not."""
    argv = [CELESTA, "run", str(SLOW), "naps", "--json"]
    run = subprocess.Popen(
        argv,
        env=stack.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def some_done() -> bool:
        runs = stack.json("runs", "list")
        return bool(runs) and runs[0]["steps"]["succeeded"] >= 2

    wait_until(some_done, 20, "the end of the first naps")
    return run


def kill(stack: Stack, *roles: str) -> None:
    victims = [p for p in stack.processes() if any(role in p["role"] for role in roles)]
    assert victims, f"no process of {roles} among {stack.processes()}"
    for process in victims:
        with suppress(ProcessLookupError):
            os.kill(process["pid"], signal.SIGKILL)


def ended(run: "subprocess.Popen[str]") -> str:
    out, err = run.communicate(timeout=60)
    assert run.returncode == 0, out + err
    return out


@pytest.mark.parametrize("role", ["step", "zygote", "worker", "recorder", "web"])
def test_killing_a_process_in_the_middle_of_a_run_only_delays_it(new_stack: Callable[..., Stack], role: str) -> None:
    stack = new_stack("--workers", 2, **LEASE)
    run = naps_in_the_middle(stack)
    kill(stack, role)
    assert '"result": 66' in ended(run)
    steps = stack.json("runs", "list")[0]["steps"]
    assert (steps["total"], steps["succeeded"], steps["failed"]) == (13, 13, 0), "each step counts once"


def test_a_run_goes_on_after_everything_was_killed_at_once(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack("--workers", 2, **LEASE)
    run = naps_in_the_middle(stack)
    run_id = stack.json("runs", "list")[0]["run_id"]
    kill(stack, "")
    run.communicate(timeout=60)
    stack.up("--workers", 2)
    stack.cli("runs", "watch", run_id)
    shown = stack.json("runs", "show", run_id)
    assert (shown["status"], shown["outputs"]) == ("succeeded", {"result": 66})
    assert shown["steps"]["succeeded"] == 13
