"""Steps that have no task in a spec, and settle in place: branches and merges get one in the plan.

So that whoever reads a plan finds a task, its interface and its name at every step. Called by `compile_plan`.
"""

from typing import Any

Document = dict[str, Any]

IN_PLACE = {"branch": "when", "merge": "result of when"}
"""How such steps settle, each with the name of the task that stands for it."""
_ANY = {"kind": "any"}


def kind_of(step: Document) -> str | None:
    """How a step of a spec settles in place; None when it has a task."""
    return next((kind for kind in IN_PLACE if kind in step), None)


def task_of(step: Document) -> Document:
    """The task that stands for a step of the spec without one."""
    kind = str(kind_of(step))
    outputs = [{"name": "result", "type": {"kind": "bool"}}] if kind == "branch" else step["outputs"]
    return {
        "name": IN_PLACE[kind],
        "kind": kind,
        "entrypoint": "",
        "code_digest": "",
        "interface": {
            "inputs": [{"name": name, "type": _ANY, "required": False} for name in step["inputs"]],
            "outputs": outputs,
        },
        "doc": "",
        "source": "",
        "cache": None,
    }
