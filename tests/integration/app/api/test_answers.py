"""Questions of runs: who may answer, once, and with what; each answer is kept and told."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from app.db import db
from app.models import Audit
from app.services.member_set import set_member
from app.services.token_issue import issue_token
from tests.fixtures.playground import OPERATOR, Answer, Playground
from tests.unit.app.specs import question, spec, step, task

BOOL, FLOAT = {"kind": "bool"}, {"kind": "float"}


@pytest.fixture
def run(playground: Playground) -> str:
    """A run that asks an editor (0), an owner (1) and for a number (2); 3 runs code; 4 does not ask yet."""
    asked = [question("deploy"), question("pay", role="owner"), question("limit", "wait_for", FLOAT)]
    later = question("later")
    later[1]["after"] = ["work"]
    tasks, steps = zip(*asked, (task("work", ()), step("work")), later, strict=True)
    playground.register(spec(list(tasks), list(steps)))
    run = playground.launch()
    playground.start(run, known=5)
    for node, path, waits_for, role, wanted in (
        ("0", "deploy", "approve", "editor", BOOL),
        ("1", "pay", "approve", "owner", BOOL),
        ("2", "limit", "wait_for", "editor", FLOAT),
    ):
        more: dict[str, Any] = {"waits_for": waits_for, "message": f"{path}?", "role": role, "type": wanted}
        more["until_ms"] = None
        playground.tell(run, "step.parked", node=node, path=path, **more)
    return run


def _answer(playground: Playground, run: str, who: dict[str, str] | None = None, **given: Any) -> Answer:
    return playground.call("POST", f"runs/{run}/answers", given, **(who or {}))


def _as(playground: Playground, role: str) -> dict[str, str]:
    with playground.app.app_context():
        project = playground._project("default")
        set_member(db.session, OPERATOR, project, role, role)
        return {"Authorization": f"Bearer {issue_token(db.session, OPERATOR, project, role, role)[1]}"}


def test_a_question_tells_what_it_asks_and_whom(playground: Playground, run: str) -> None:
    asking = playground.get(f"runs/{run}/steps", state="parked")["items"]
    assert [(one["path"], one["parked"]) for one in asking][1] == (
        "pay",
        {"waits_for": "approve", "message": "pay?", "role": "owner", "type": BOOL, "until": None},
    )


def test_an_answer_is_kept_with_who_when_and_why(playground: Playground, run: str) -> None:
    answer = _answer(playground, run, _as(playground, "editor"), step="deploy", value=True, note="tested")
    assert answer.status == 201, answer.text
    told = answer.json
    assert told.pop("answered_at")
    assert told == {
        "step": "deploy", "value": True, "timed_out": False, "note": "tested", "answered_by": "editor",
    }  # fmt: skip
    assert playground.get(f"runs/{run}/steps/deploy")["answer"] == answer.json
    with playground.app.app_context():
        line = db.session.scalars(select(Audit).where(Audit.action == "run.answer")).one()
        assert (line.principal, line.object, line.detail["value"]) == ("editor", run, "true")


def test_a_value_of_another_type_is_refused(playground: Playground, run: str) -> None:
    answer = _answer(playground, run, step="limit", value="high")
    assert answer.status == 422
    assert "a number" in answer.text
    assert _answer(playground, run, step="limit", value=0.5).status == 201


def test_a_second_answer_is_refused_and_names_the_first(playground: Playground, run: str) -> None:
    _answer(playground, run, step="deploy", value=False)
    again = _answer(playground, run, step="deploy", value=True)
    assert again.status == 409
    assert "was answered already, by" in again.json["message"]
    assert playground.get(f"runs/{run}/steps/deploy")["answer"]["value"] is False


def test_who_has_not_the_role_may_not_answer(playground: Playground, run: str) -> None:
    assert _answer(playground, run, _as(playground, "viewer"), step="deploy", value=True).status == 403
    assert _answer(playground, run, _as(playground, "editor"), step="pay", value=True).status == 403
    assert _answer(playground, run, _as(playground, "owner"), step="pay", value=True).status == 201


def test_a_step_that_asks_nothing_is_told_apart_from_one_that_asks_later(playground: Playground, run: str) -> None:
    nothing = _answer(playground, run, step="work", value=True)
    assert nothing.status == 422
    assert "deploy, pay, limit" in nothing.text
    later = _answer(playground, run, step="later", value=True)
    assert later.status == 409
    assert "upstream" in later.json["message"]
    assert _answer(playground, run, step="nowhere", value=True).status == 404


def test_a_run_that_ended_asks_no_longer(playground: Playground, run: str) -> None:
    playground.finish(run, "cancelled", cancelled=5)
    assert _answer(playground, run, step="deploy", value=True).status == 409
