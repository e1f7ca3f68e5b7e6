"""Step documents, as executors read them."""

from typing import Any

from app.compiler.plan import Plan
from celesta.runtime.enter import secrets
from workers.engine.documents import step_document
from workers.engine.views import Frame, View

STEP = {"path": "f", "task": 0, "secrets": ["TOKEN"], "map": None, "parents": [], "children": []}


def view_of(**step: Any) -> View:
    task = {"kind": "python", "entrypoint": "flow:f", "interface": {"inputs": [], "outputs": []}}
    plan = Plan({"steps": [STEP | step], "tasks": [task], "roots": [0], "chords": [], "bundle": None})
    return View("r", 1, "p", Frame(plan, {}))


def test_an_interruptible_step_has_a_last_attempt_that_nothing_takes_away() -> None:
    view = view_of(interruptible=True, retry={"max": 0, "system": 2})
    attempts = [step_document(view, "0", f"1.{n}", {}, None, "file:///store") for n in (1, 2, 3)]
    assert [document["interruptible"] for document in attempts] == [True, True, False]
    assert step_document(view_of(), "0", "1.1", {}, None, "file:///store")["interruptible"] is False


def test_the_secrets_of_a_task_are_told_with_where_their_values_are() -> None:
    document = step_document(view_of(), "0", "1.1", {}, None, "file:///store")
    assert document["secrets"] == {"TOKEN": {"env": "TOKEN"}}
    assert secrets(document, {"TOKEN": "t"}) == {"TOKEN": "t"}
