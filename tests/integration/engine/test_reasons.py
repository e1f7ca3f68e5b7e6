"""Every step that waits says why: each reason, from real servers, as the API tells it."""

from pathlib import Path
from typing import Any

from sqlalchemy import select

from app.compiler.plan import Plan
from app.db import db
from app.models import Project, Step
from app.services import step_query, step_wait
from app.services.limit_set import set_limit
from app.services.run_pause import pause_run, resume_run
from tests.fixtures.processes import wait_until
from tests.integration.engine.deployment import ROOT, Deployment
from tests.integration.engine.test_workers import deployed
from tests.unit.app.specs import INT, nap, question, step, task, text, value
from workers.engine import Engine, control, keys
from workers.engine.running import Runner

__all__ = ["deployed"]  # the fixture
CACHED = {"version": None, "ignore": [], "environment": False, "ttl_seconds": None, "scope": "project"}


def _reasons(deployed: Deployment, run: str, kinds: set[str], *names: str) -> dict[str, Any]:
    """By path, once there are reasons of these kinds; of these steps, or of all that are listed."""
    found: dict[str, Any] = {}

    def there() -> bool:
        row = deployed.status(run)
        plan = Plan.from_bytes(deployed.store.get_blob(row.version.plan_blob))
        steps = [step_query.get(db.session, row, plan, name, deployed.store) for name in names]
        steps = steps or step_query.page(db.session, row, plan).items
        told = step_wait.reasons(db.session, deployed.client, row.project, row, plan, steps, deployed.store)
        found.update({one.path: told.get(one.node) for one in steps})
        return kinds <= {reason["kind"] for reason in found.values() if reason}

    wait_until(there, 60, what="reasons")
    return found


def _recorded(run: str, node: str, what: Any) -> Any:
    """One column of a step's row, once there is one."""
    db.session.rollback()
    return db.session.scalar(select(what).where(Step.run_id == run, Step.node == node))


def _project() -> Project:
    return db.session.scalars(select(Project).where(Project.name == "default")).one()


def _doubles(count: int, **options: Any) -> list[dict[str, Any]]:
    return [step(f"double#{n}", "double", inputs={"x": value(n)}, **options) for n in range(2, count + 2)]


def test_limits_upstream_steps_and_the_queue(deployed: Deployment) -> None:
    set_limit(db.session, ROOT, _project(), "gpu", 1)
    asks, asked = question("deploy", timeout=3600)
    last = step("one", after=["double#2", "deploy"])
    with deployed.role("recorder"):
        run = deployed.launch([task("double", limits=["gpu"]), task("one", ()), asks], [*_doubles(2), asked, last])
        found = _reasons(deployed, run, {"limit", "approval"})
    assert (found["double#2"]["kind"], found["double#2"]["text"]) == ("queue", "a worker: it is in the queue")
    assert found["double#3"]["text"] == "a place of the limit gpu"
    assert (found["deploy"]["kind"], found["deploy"]["until"] is not None) == ("approval", True)
    assert found["one"] == {
        "kind": "upstream", "text": "double#2, deploy", "until": None, "steps": ["double#2", "deploy"],
    }  # fmt: skip


def test_a_value_a_time_and_a_run_that_may_have_one_step_at_work(deployed: Deployment) -> None:
    asks, asked = question("labels", "wait_for", INT)
    sleeps, slept = nap("night", 3600.0)
    with deployed.role("recorder"):
        run = deployed.launch([task("double"), asks, sleeps], [*_doubles(2), asked, slept], options={"max_parallel": 1})
        found = _reasons(deployed, run, {"answer", "time", "limit", "queue"})
    assert found["labels"]["text"] == "a value that somebody gives"
    assert (found["night"]["kind"], found["night"]["until"] is not None) == ("time", True)
    assert found["double#3"] == {
        "kind": "limit", "text": "its run or map, which has as many steps at work as it may", "until": None,
    }  # fmt: skip


def test_an_item_of_a_map_with_a_concurrency(deployed: Deployment) -> None:
    items = {"list": [value(n) for n in range(5)]}
    mapped = step("double", inputs={"x": items}, map=["x"], options={"concurrency": 2})
    with deployed.role("recorder"):
        run = deployed.launch([task("double")], [mapped])
        wait_until(lambda: deployed.state(run, "0.4") == "ready", what="the map")
        wait_until(lambda: _recorded(run, "0", Step.width) is not None, what="its record")
        found = _reasons(deployed, run, {"limit", "queue"}, "double[0]", "double[1]", "0.4")
    assert found["double[1]"]["kind"] == "queue"
    assert found["double[4]"]["text"] == "its run or map, which has as many steps at work as it may"


def test_a_start_then_a_pause_then_a_turn(deployed: Deployment) -> None:
    run = deployed.launch([task("double")], _doubles(40))
    assert _reasons(deployed, run, {"start"})["double#2"]["text"] == "the start of its run"
    with deployed.role("recorder"):
        found = _reasons(deployed, run, {"queue"})
        wait_until(lambda: deployed.state(run, "39") == "ready", what="a full window")
        assert _reasons(deployed, run, {"queue"}, "39")["double#41"]["text"] == "its turn: others go first"
        assert found["double#2"]["kind"] == "queue"
        pause_run(db.session, deployed.config, ROOT, _project(), deployed.status(run))
        assert _reasons(deployed, run, {"pause"})["double#41"]["text"] == "the run, which is paused"


def test_a_step_whose_claim_was_given_back_waits_as_one_that_never_began(deployed: Deployment) -> None:
    set_limit(db.session, ROOT, _project(), "gpu", 1)
    engine = Engine(deployed.client, deployed.store, lambda run, batches: None)
    worker = Runner(engine, None, "here:1", "")  # type: ignore[arg-type]
    told = step("tell", "double", inputs={"x": value(1)}, on_failure=True)
    with deployed.role("recorder"):
        run = deployed.launch([task("double", limits=["gpu"])], [*_doubles(1), told])
        wait_until(lambda: deployed.state(run, "0") == "sent", what="a step in the queue")
        batch = worker.claim(run, [["0", 1]], lambda ended: None)
        assert batch is not None
        wait_until(lambda: _recorded(run, "0", Step.state) == "running", what="its record")
        assert _reasons(deployed, run, {"failure"}) == {
            "double#2": None, "tell": {"kind": "failure", "text": "the run, should it fail", "until": None},
        }  # fmt: skip
        pause_run(db.session, deployed.config, ROOT, _project(), deployed.status(run))
        control(engine, run, "pause")
        worker.give_back(batch, list(batch.waiting))
        assert _reasons(deployed, run, {"pause"})["double#2"]["text"] == "the run, which is paused"
        deployed.client.sadd(f"{keys.LIMITS}:default:@gpu", f"{run}|other")
        resume_run(db.session, deployed.config, ROOT, _project(), deployed.status(run))
        control(engine, run, "run")
        assert _reasons(deployed, run, {"limit"})["double#2"]["text"] == "a place of the limit gpu"


def test_the_next_attempt_and_until_when(deployed: Deployment) -> None:
    retry = {"max": 1, "backoff_seconds": 3600.0, "factor": 1.0}
    with deployed.role("recorder"), deployed.role("worker"):
        run = deployed.launch([task("fail", (), retry=retry)], [step("fail")])
        found = _reasons(deployed, run, {"backoff"})["fail"]
    assert (found["text"], found["until"] is not None) == ("its next attempt", True)


def test_another_run_that_computes_the_same(deployed: Deployment, tmp_path: Path) -> None:
    slow = task("slow", ("seconds", "flag"), cache=CACHED)
    slow["interface"]["inputs"][1]["type"] = {"kind": "str"}
    same = [step("slow", inputs={"seconds": value(60), "flag": text(str(tmp_path / "flag"))})]
    with deployed.role("recorder"), deployed.role("worker"):
        deployed.launch([slow], same)
        wait_until(lambda: (tmp_path / "flag").exists(), 30, what="the first at work")
        second = deployed.launch([slow], same)
        assert _reasons(deployed, second, {"flight"})["slow"]["text"] == "another run that computes the same"
