"""The engine in real Celery workers, with real forked steps, while processes die."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.config import Config
from app.db import db, standalone, upgrade, writing
from app.models import Step
from app.models.columns import now
from tests.fixtures.processes import wait_until
from tests.integration.engine.deployment import Deployment
from tests.unit.app.specs import INT, output, step, task, value
from workers.engine import keys

OUT = {"inputs": [], "outputs": [{"name": "result", "type": INT}]}
GRACE_SECONDS = 20.0
"""What `celesta down` and Kubernetes give a worker to end."""
HOOK_IS_OFF = "from workers.engine import ChordBackend; ChordBackend.on_chord_part_return = lambda *a, **k: None"

STANDS_STILL = (
    "import threading; from celery.worker import WorkController; "
    "WorkController.wait_for_soft_shutdown = lambda self: threading.Event().wait()"
)


@pytest.fixture
def deployed(home: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    monkeypatch.setenv("CELESTA_REDIS_URL", redis_url)
    monkeypatch.setenv("CELESTA_SLOTS", "2")
    monkeypatch.setenv("CELESTA_LEASE_SECONDS", "3")
    config = Config.from_env(os.environ)
    upgrade(config)
    with standalone(config):
        yield Deployment(config, home)
        db.session.remove()
        db.engine.dispose()


def _text(path: Path) -> dict[str, Any]:
    from celesta.hashing import canonical, digest_of

    data = canonical(str(path))
    return {"value": {"type": "json", "digest": digest_of(data), "size": len(data), "inline": str(path)}}


def _slow(seconds: int, flag: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    any_ = {"kind": "any"}
    slow = task("slow", ("seconds", "flag"))
    slow["interface"]["inputs"] = [{"name": name, "type": any_, "required": True} for name in ("seconds", "flag")]
    steps = [
        step("slow", inputs={"seconds": value(seconds), "flag": _text(flag)}),
        step("double", inputs={"x": output("slow")}),
    ]
    return [slow, task("double")], steps


def _chain(length: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    steps = [step("double", inputs={"x": value(1)})]
    for number in range(2, length + 1):
        before = "double" if number == 2 else f"double#{number - 1}"
        steps.append(step(f"double#{number}", "double", inputs={"x": output(before)}))
    return [task("double")], steps


def _is_running(deployed: Deployment, flag: Path, times: int = 1) -> None:
    wait_until(lambda: flag.exists() and len(flag.read_text().split()) >= times, 20, what="a started step")


def test_a_run_goes_from_launch_to_record(deployed: Deployment) -> None:
    with deployed.role("recorder"), deployed.role("worker"):
        run = deployed.launch(*_chain(12), interface=OUT, outputs={"result": output("double#12")})
        row = deployed.ended(run)
        assert (row.status, row.total, row.succeeded) == ("succeeded", 12, 12)
        assert row.outputs["result"]["inline"] == 2**12
        wait_until(lambda: not deployed.client.exists(keys.meta(run)), what="a forgotten run")
        assert deployed.client.zcard(keys.INFLIGHT) == 0


def test_without_the_chord_hook_no_run_goes_on(deployed: Deployment) -> None:
    with deployed.role("worker", before=HOOK_IS_OFF):
        run = deployed.launch(*_chain(2))
        wait_until(lambda: list(deployed.store.list(f"runs/{run}/")), what="the first step's result")
        wait_until(lambda: deployed.client.llen("steps") == 0, what="an empty queue")
        assert deployed.state(run, "0") == "running"
        assert deployed.state(run, "1") == ""


def test_a_killed_child_delays_its_step_by_a_moment_and_not_by_a_lease(
    deployed: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELESTA_LEASE_SECONDS", "120")
    flag = tmp_path / "flag"
    with deployed.role("recorder"), deployed.role("worker") as worker:
        run = deployed.launch(*_slow(2, flag))
        _is_running(deployed, flag)
        owner = deployed.client.hget(keys.states(run), "0").decode().rsplit(":", 1)[1]
        assert int(owner) in {child.pid for child in deployed.children(worker)}
        os.kill(int(owner), signal.SIGKILL)
        assert deployed.ended(run).status == "succeeded"
        assert deployed.attempts(run)[0] == ("1.1", "lost", "lost")
        assert len(flag.read_text().split()) == 2


def test_a_killed_worker_delays_its_steps_by_a_lease(deployed: Deployment, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    with deployed.role("recorder"):
        with deployed.role("worker") as worker:
            run = deployed.launch(*_slow(3, flag))
            _is_running(deployed, flag)
            worker.kill()
            worker.wait()
        with deployed.role("worker"):
            assert deployed.ended(run).status == "succeeded"
        assert deployed.attempts(run)[0] == ("1.1", "lost", "lost")


def test_a_cancelled_run_kills_what_runs(deployed: Deployment, tmp_path: Path) -> None:
    from app.models import Run

    flag = tmp_path / "flag"
    with deployed.role("recorder"), deployed.role("worker"):
        run = deployed.launch(*_slow(60, flag))
        _is_running(deployed, flag)
        with writing(db.session) as session:
            session.get(Run, run).cancel_requested_at = now()
        row = deployed.ended(run)
        assert (row.status, row.cancelled) == ("cancelled", 2)
        pid = int(flag.read_text())
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), what="the end of the step's process")


def test_a_redis_that_lost_everything_costs_a_run_only_time(deployed: Deployment, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    with deployed.role("recorder"), deployed.role("worker"):
        run = deployed.launch(*_slow(8, flag))
        _is_running(deployed, flag)
        wait_until(lambda: deployed.status(run).status == "running", what="a recorded start")
        deployed.client.flushall()
        assert deployed.ended(run, 60).status == "succeeded"
        assert deployed.status(run).epoch == 2
        assert len(flag.read_text().split()) == 1, "the live attempt took its step back"


def test_a_redis_that_lost_everything_costs_no_attempt_more_than_the_policy_has(deployed: Deployment) -> None:
    retry = {"max": 1, "backoff_seconds": 5.0, "factor": 1.0}
    with deployed.role("recorder"), deployed.role("worker"):
        run = deployed.launch([task("fail", ())], [step("fail", options={"retry": retry})])
        failed = ("1.1", "failed", "user")
        wait_until(lambda: deployed.status(run) and deployed.attempts(run) == [failed], 30, what="a recorded failure")
        deployed.client.flushall()
        assert deployed.ended(run, 60).status == "failed"
        assert deployed.attempts(run) == [failed, ("2.2", "failed", "user")]
        row = db.session.get_one(Step, (run, "0"), populate_existing=True)
        assert (row.attempt, row.started_at >= row.retry_at) == (2, True)


def test_a_run_whose_message_was_lost_is_started(deployed: Deployment) -> None:
    run = deployed.launch(*_chain(1))
    deployed.client.flushall()
    with deployed.role("recorder"), deployed.role("worker"):
        assert deployed.ended(run).status == "succeeded"


def test_a_worker_that_is_told_to_end_lets_its_steps_end_for_a_moment(deployed: Deployment, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    with deployed.role("recorder"):
        with deployed.role("worker") as worker:
            run = deployed.launch(*_slow(1, flag))
            _is_running(deployed, flag)
            worker.send_signal(signal.SIGTERM)
            worker.wait(GRACE_SECONDS)
        with deployed.role("worker"):
            assert deployed.ended(run).status == "succeeded"
        assert [state for _, state, _ in deployed.attempts(run)] == ["succeeded", "succeeded"]
        assert len(flag.read_text().split()) == 1


@pytest.mark.parametrize("before", ["", STANDS_STILL])
def test_a_worker_that_is_told_to_end_hands_back_what_does_not_end(
    deployed: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    """Its leases would run out long after this test has given up."""
    monkeypatch.setenv("CELESTA_LEASE_SECONDS", "300")
    flag = tmp_path / "flag"
    with deployed.role("recorder"):
        with deployed.role("worker", before) as worker:
            run = deployed.launch(*_slow(200, flag))
            _is_running(deployed, flag)
            worker.send_signal(signal.SIGTERM)
            worker.wait(GRACE_SECONDS)
        wait_until(lambda: deployed.state(run, "0") == "sent", what="the next attempt, sent")
        with deployed.role("worker"):
            assert deployed.ended(run).status == "succeeded"
        assert deployed.attempts(run)[0] == ("1.1", "lost", "lost")
        assert len(flag.read_text().split()) == 2
