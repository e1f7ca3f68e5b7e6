"""Step documents, as executors read them."""

from app.compiler.plan import Plan
from celesta.runtime.enter import secrets
from workers.engine.documents import step_document
from workers.engine.views import Frame, View

STEP = {"path": "f", "task": 0, "secrets": ["TOKEN"], "map": None, "parents": [], "children": []}


def test_the_secrets_of_a_task_are_told_with_where_their_values_are() -> None:
    task = {"kind": "python", "entrypoint": "flow:f", "interface": {"inputs": [], "outputs": []}}
    plan = Plan({"steps": [STEP], "tasks": [task], "roots": [0], "chords": [], "bundle": None})
    view = View("r", 1, "p", Frame(plan, {}))
    document = step_document(view, "0", "1.1", {}, None, "file:///store")
    assert document["secrets"] == {"TOKEN": {"env": "TOKEN"}}
    assert secrets(document, {"TOKEN": "t"}) == {"TOKEN": "t"}
