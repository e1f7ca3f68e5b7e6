"""Step documents, as executors read them."""

from types import SimpleNamespace
from typing import Any

from celesta.runtime.enter import secrets
from workers.engine.documents import step_document


def test_the_secrets_of_a_task_are_told_with_where_their_values_are() -> None:
    task = {"kind": "python", "entrypoint": "flow:f", "interface": {"inputs": [], "outputs": []}}
    plan = SimpleNamespace(
        steps=[{"path": "f", "secrets": ["TOKEN"]}], bundle=None, task=lambda index: task, path=lambda node: "f"
    )
    view: Any = SimpleNamespace(plan=plan, run="r", project="p")
    document = step_document(view, "0", "1.1", {}, None, "file:///store")
    assert document["secrets"] == {"TOKEN": {"env": "TOKEN"}}
    assert secrets(document, {"TOKEN": "t"}) == {"TOKEN": "t"}
