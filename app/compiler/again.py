"""Which steps of a plan run again when some of it is asked anew: those that are named, those that take an input which
changed, and all below them.

Pure. The engine asks it when a run takes results over from an earlier one, and the preview of such a run.
"""

from collections.abc import Collection, Iterator
from typing import Any

from app.compiler.plan import Plan


def affected(plan: Plan, again: Collection[str], changed: Collection[str] = ()) -> dict[int, int | None]:
    """The indexes of these steps, each with the parent by which it is affected (None: by itself)."""
    found: dict[int, int | None] = {}
    names, paths = set(changed), set(again)
    for index, step in enumerate(plan.steps):
        if step["path"] in paths or names & set(_inputs(step["inputs"].values())):
            found[index] = None
    waiting = list(found)
    while waiting:
        parent = waiting.pop()
        for child in plan.children[parent]:
            if child not in found:
                found[child] = parent
                waiting.append(child)
    return found


def _inputs(bindings: Collection[dict[str, Any]]) -> Iterator[str]:
    """The workflow's inputs that these bindings name."""
    for binding in bindings:
        if "input" in binding:
            yield binding["input"]
        elif "list" in binding:
            yield from _inputs(binding["list"])
        elif "dict" in binding:
            yield from _inputs(binding["dict"].values())
