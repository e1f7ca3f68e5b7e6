"""Time-outs of local runs: what has only so much time runs in a child, and is ended with all below it."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from celesta.codecs import encode
from celesta.runtime.context import current
from tests.fixtures.processes import SOON_SECONDS
from tests.unit.celesta.local.flow import ANY, Flow, out


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def stuck(pids: str) -> int:
    """Ignores the request to end, as does what it started."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 600 & wait; sleep 600"])
    Path(pids).write_text(json.dumps([os.getpid(), child.pid]))
    time.sleep(600)
    return 1


def named(name: str) -> Any:
    def fine() -> int:
        return 1

    fine.__name__ = name
    return fine


def test_a_step_that_takes_too_long_is_ended_with_all_below_it(flow: Flow, tmp_path: Path) -> None:
    flow.step(flow.task(stuck, "pids", timeout_seconds=0.5), pids=str(tmp_path / "pids"))
    flow.step(flow.task(named("fine")))
    started = time.monotonic()
    run = flow.run()
    assert 0.5 <= time.monotonic() - started < SOON_SECONDS
    assert run.states == {"stuck": "failed", "fine": "succeeded"}
    assert run.error is not None
    assert (run.error["type"], run.error["kind"]) == ("Timeout", "timeout")
    assert "0.5 s" in run.error["message"]
    assert all(_is_gone(pid) for pid in json.loads((tmp_path / "pids").read_text()))


def test_a_step_within_its_time_leaves_all_that_any_step_does(flow: Flow) -> None:
    def work(x: int) -> int:
        print("said")
        current().log_metric("loss", 0.5)
        return 2 * x

    flow.step(flow.task(work, "x", timeout_seconds=30), x=21)
    flow.outputs = {"result": out("work")}
    run = flow.run()
    assert flow.value(run) == 42
    (settled,) = [event for event in flow.events if event["kind"] == "step.settled"]
    assert [metric["name"] for metric in settled["outcome"]["metrics"]] == ["loss"]
    assert settled["outcome"]["log_bytes"] == len("said\n")
    assert flow.run().steps["cached"] == 1


def test_a_timeout_has_its_budget_of_attempts(flow: Flow, tmp_path: Path) -> None:
    def slow(place: str) -> int:
        with Path(place).open("a") as file:
            file.write("x")
        time.sleep(0 if Path(place).stat().st_size == 2 else 600)
        return 1

    policy = {"max": 0, "backoff_seconds": 0.0, "factor": 1.0, "timeout": 1}
    flow.step(flow.task(slow, "place", timeout_seconds=0.5, retry=policy), place=str(tmp_path / "attempts"))
    assert flow.run().status == "succeeded"
    assert [event["reason"] for event in flow.events if event["kind"] == "step.retry"] == ["timeout"]


@pytest.mark.parametrize("end", [lambda: os._exit(3), lambda: os.kill(os.getpid(), signal.SIGKILL)])
def test_a_child_that_dies_is_the_failure_of_its_step(flow: Flow, end: Any) -> None:
    def die() -> None:
        end()

    flow.step(flow.task(die, gives="", timeout_seconds=30))
    error = flow.run().error
    assert error is not None
    assert error["type"] in ("ProcessExited", "Killed")


def test_a_run_that_takes_too_long_has_failed_and_what_runs_on_failure_still_does(flow: Flow) -> None:
    told: list[Any] = []

    def slow(x: int) -> int:
        time.sleep(600 if x else 0)
        return x

    def tell(failure: dict[str, Any]) -> None:
        told.append(failure)

    flow.options = {"timeout_seconds": 1.0}
    flow.step(flow.task(slow, "x"), map=["x"], x=[0, 1, 2])
    flow.step(flow.task(named("after")))
    flow.step(flow.task(tell, "failure", gives="", cache=None), failure={"failure": True})
    flow.steps[-1]["on_failure"] = True
    started = time.monotonic()
    run = flow.run()
    assert 1 <= time.monotonic() - started < SOON_SECONDS
    assert run.status == "failed"
    assert run.states == {
        "slow[0]": "succeeded", "slow[1]": "cancelled", "slow[2]": "cancelled", "after": "cancelled",
        "tell": "succeeded",
    }  # fmt: skip
    assert (told[0]["path"], told[0]["type"], told[0]["kind"]) == ("", "Timeout", "timeout")


def test_neither_a_sleep_nor_a_wait_before_the_next_attempt_outlasts_the_run(flow: Flow) -> None:
    def fail() -> None:
        raise ValueError("no")

    flow.options = {"timeout_seconds": 0.5}
    flow.step(flow.task(fail, gives="", retry={"max": 1, "backoff_seconds": 600.0, "factor": 1.0}))
    started = time.monotonic()
    run = flow.run()
    flow.clear()
    sleep = flow.task(named("sleep"), "seconds", gives="", kind="sleep")
    flow.tasks[sleep]["interface"]["inputs"][0]["type"] = {"kind": "float"}
    flow.step(sleep, seconds={"value": encode(600.0, ANY, flow.store)})
    flow.options = {"timeout_seconds": 0.5}
    slept = flow.run()
    assert time.monotonic() - started < SOON_SECONDS
    for ended in (run, slept):
        assert (ended.error or {})["type"] == "Timeout"
        assert set(ended.states.values()) == {"cancelled"}
