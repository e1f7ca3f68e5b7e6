"""What is looked at before a local run begins: whether it can run here, what it asks, and whether inputs are missing.

Pure. Called by `celesta.local.launch`, and by a run for what a dynamic step traced.
"""

from collections.abc import Mapping
from typing import Any

from celesta.answers import Question
from celesta.errors import InputError, Problem, SpecError

Document = dict[str, Any]
Ref = dict[str, Any]


def questions(spec: Document) -> dict[str, Question]:
    """What asks somebody, by path: its kind, and the type of the answer."""
    asking = ((step["path"], spec["tasks"][step["task"]]) for step in spec["steps"] if "task" in step)
    return {
        path: (task["kind"], task["interface"]["outputs"][0]["type"])
        for path, task in asking
        if task["kind"] in ("approve", "wait_for")
    }


def dynamic_paths(spec: Document) -> list[str]:
    """The paths below which questions are known only when they are asked."""
    return [step["path"] for step in spec["steps"] if spec["tasks"].get(step.get("task"), {}).get("kind") == "dynamic"]


def require_local(spec: Document) -> None:
    """Raises `SpecError` for what only a server can run."""
    commands = {name for name, task in spec["tasks"].items() if task["kind"] == "container"}
    steps = [step["path"] for step in spec["steps"] if step.get("task") in commands]
    if steps:
        told = [Problem(f"steps.{path}", "is a command in a container") for path in steps[:20]]
        raise SpecError("a local run has no containers; run this on a server whose executor has them", told)
    references = [step for step in spec["steps"] if "reference" in step]
    if references:
        told = [Problem(f"steps.{one['path']}", f"{one['reference']} is registered on a server") for one in references]
        raise SpecError("a local run knows no registered workflows; run this on a server", told[:20])


def complete_inputs(spec: Document, inputs: Mapping[str, Ref]) -> dict[str, Ref]:
    """The inputs with the defaults of those that are not given. Raises `InputError` with all that is wrong."""
    ports = {port["name"]: port for port in spec["interface"]["inputs"]}
    problems = [Problem(name, f'"{spec["name"]}" has no such input') for name in inputs if name not in ports]
    defaults = {name: port["default"] for name, port in ports.items() if port.get("default") is not None}
    given = defaults | dict(inputs)
    problems += [Problem(name, "is missing") for name in ports if name not in given]
    if problems:
        raise InputError(f'the inputs of "{spec["name"]}" are not right', problems)
    return given
