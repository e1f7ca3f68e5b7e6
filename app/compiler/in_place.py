"""Steps that have no task in a spec, and settle in place: branches and merges get one in the plan.

So that whoever reads a plan finds a task, its interface and its name at every step. Called by `compile_plan`.
"""

from typing import Any

Document = dict[str, Any]

IN_PLACE = ("branch", "merge")
_ANY = {"kind": "any"}


def kind_of(step: Document) -> str | None:
    """How a step of a spec settles in place; None when it has a task."""
    return next((kind for kind in IN_PLACE if kind in step), None)


def task_of(step: Document) -> Document:
    """The task that stands for a step of the spec without one."""
    kind = str(kind_of(step))
    outputs = [{"name": "result", "type": {"kind": "bool"}}] if kind == "branch" else step["outputs"]
    return {
        "name": "when" if kind == "branch" else "result of when",
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
