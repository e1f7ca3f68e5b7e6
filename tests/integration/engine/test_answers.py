"""Answers from the database to the engine: through real processes, a lost Redis, and a restart of everything."""

from typing import Any

import pytest

from app.compiler.plan import Plan
from app.db import db
from app.models import Answer, Project, Run, Step
from app.services.question_answer import answer_question
from tests.fixtures.processes import wait_until
from tests.integration.engine.deployment import ROOT, Deployment
from tests.integration.engine.test_workers import OUT, deployed
from tests.unit.app.specs import nap, output, question, step, task

BOOL = {"inputs": [], "outputs": [{"name": "result", "type": {"kind": "bool"}}]}
__all__ = ["deployed"]  # the fixture


def _asking(deployed: Deployment, **options: Any) -> str:
    asks, asked = question("deploy", **options)
    return deployed.launch([asks], [asked], interface=BOOL, outputs={"result": output("deploy")})


def _is_parked(deployed: Deployment, run: str) -> None:
    """As recorded: an answer is refused before."""

    def parked() -> bool:
        db.session.rollback()
        row = db.session.get(Step, (run, "0"), populate_existing=True)
        return row is not None and row.state == "parked"

    wait_until(parked, what="a recorded question")


def _answer(deployed: Deployment, run: str, value: bool) -> None:
    row = db.session.get_one(Run, run)
    plan = Plan.from_bytes(deployed.store.get_blob(row.version.plan_blob))
    project = db.session.get_one(Project, row.project_id)
    made = (deployed.config, deployed.store, ROOT, project, row, plan)
    answer_question(db.session, *made, step="deploy", value=value)


def test_an_answer_moves_a_run_on(deployed: Deployment) -> None:
    with deployed.role("recorder"), deployed.role("worker"):
        run = _asking(deployed)
        _is_parked(deployed, run)
        _answer(deployed, run, True)
        row = deployed.ended(run)
        assert (row.status, row.outputs["result"]["inline"]) == ("succeeded", True)


def test_an_answer_outlives_redis_and_its_own_message(deployed: Deployment) -> None:
    with deployed.role("recorder"):
        run = _asking(deployed)
        _is_parked(deployed, run)
    _answer(deployed, run, False)
    deployed.client.flushall()
    with deployed.role("recorder"):
        row = deployed.ended(run, 60)
        assert (row.status, row.outputs["result"]["inline"], row.epoch) == ("succeeded", False, 2)


def test_an_answer_whose_message_was_lost_is_passed_on(deployed: Deployment) -> None:
    with deployed.role("recorder"):
        run = _asking(deployed)
        _is_parked(deployed, run)
    _answer(deployed, run, True)
    deployed.client.delete("control")
    with deployed.role("recorder"):
        assert deployed.ended(run, 60).status == "succeeded"


@pytest.mark.parametrize("default", [None, False])
def test_a_timeout_is_an_answer_of_nobody(deployed: Deployment, default: bool | None) -> None:
    from celesta.codecs import from_plain

    ref = None if default is None else from_plain(default, {"kind": "bool"})
    with deployed.role("recorder"):
        run = _asking(deployed, timeout=0.2, default=ref)
        row = deployed.ended(run)
        assert row.status == ("failed" if default is None else "succeeded")
        kept = db.session.get_one(Answer, (run, "0"))
        assert (kept.value, kept.answered_by) == (None, "")


def test_delayed_work_outlives_a_restart_of_everything(deployed: Deployment) -> None:
    sleeps, sleeping = nap("sleep", 5.0)
    last = step("double", inputs={"x": output("one")}, after=["sleep"])
    with deployed.role("recorder"), deployed.role("worker"):
        run = deployed.launch(
            [sleeps, task("one", ()), task("double")],
            [sleeping, step("one"), last],
            interface=OUT,
            outputs={"result": output("double")},
        )
        _is_parked(deployed, run)
    until_ms = db.session.get_one(Step, (run, "0")).parked["until_ms"]
    deployed.client.flushall()
    with deployed.role("recorder"), deployed.role("worker"):
        row = deployed.ended(run, 60)
        assert row.status == "succeeded"
        slept = db.session.get_one(Step, (run, "0"), populate_existing=True)
        assert slept.finished_at.timestamp() * 1000 >= until_ms
