"""What the document of a step says of what it takes and gives, before any other step is looked at.

Called by `celesta.spec.checks`, on JSON that anyone may have sent: nothing raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from celesta.errors import Problem
from celesta.spec.shapes import WAITS, ref_problems
from celesta.types import TypeDoc, gathered


class Task:
    """The ports of a task by name, plain and as lists, made once for all steps of it."""

    def __init__(self, doc: dict[str, Any]) -> None:
        interface = doc["interface"]
        self.inputs: dict[str, TypeDoc] = {one["name"]: one["type"] for one in interface["inputs"]}
        self.outputs: dict[str, TypeDoc] = {one["name"]: one["type"] for one in interface["outputs"]}
        self.required = [
            one["name"] for one in interface["inputs"] if one.get("required", True) and "default" not in one
        ]
        self.mapped_inputs: dict[str, TypeDoc] = {n: {"kind": "list", "items": doc} for n, doc in self.inputs.items()}
        self.mapped_outputs: dict[str, TypeDoc] = {n: {"kind": "list", "items": doc} for n, doc in self.outputs.items()}


def ports_of(step: dict[str, Any]) -> dict[str, TypeDoc]:
    """The outputs of a branch or a merge, as far as it says them."""
    if "branch" in step:
        return {"result": {"kind": "bool"}}
    ports = step.get("outputs")
    told = [port for port in ports if isinstance(port, dict)] if isinstance(ports, list) else []
    return {port["name"]: port["type"] for port in told if isinstance(port.get("name"), str) and "type" in port}


def wait_problems(task: dict[str, Any], step: dict[str, Any], where: str) -> Iterator[Problem]:
    """A question is asked once, says who may answer it, and its default fits; only questions are answered."""
    options = step.get("options")
    answer = options.get("answer") if isinstance(options, dict) else None
    if task.get("kind") not in WAITS:
        if answer is not None:
            yield Problem(f"{where}.options.answer", f'is for steps that ask; task "{step["task"]}" runs')
        return
    if step.get("map") is not None:
        yield Problem(f"{where}.map", f"{task['kind']} cannot be mapped over: write one call for each")
    if task["kind"] != "sleep" and not isinstance(answer, dict):
        yield Problem(f"{where}.options.answer", "is missing")
    elif isinstance(answer, dict) and answer.get("default") is not None:
        wanted = task["interface"]["outputs"][0]["type"]
        yield from ref_problems(answer["default"], wanted, f"{where}.options.answer.default")


def outputs_of(step: dict[str, Any], task: Task) -> dict[str, TypeDoc]:
    if step.get("map") is None:
        return task.outputs
    options = step.get("options")
    ratio = options.get("min_success_ratio") if isinstance(options, dict) else None
    if not isinstance(ratio, int | float) or ratio >= 1:
        return task.mapped_outputs
    return {name: gathered(doc, ratio) for name, doc in task.outputs.items()}


def map_problems(mapped: Any, inputs: dict[str, Any], where: str) -> Iterator[Problem]:
    if not isinstance(mapped, list) or not mapped or not all(isinstance(name, str) for name in mapped):
        yield Problem(f"{where}.map", "is not a list of input names")
        return
    for name in mapped:
        if name not in inputs:
            yield Problem(f"{where}.map", f'"{name}" is mapped over and not given')
    widths = {name: width for name in mapped if (width := _width(inputs.get(name))) is not None}
    if len(set(widths.values())) > 1:
        told = ", ".join(f"{name} has {width}" for name, width in widths.items())
        yield Problem(f"{where}.map", f"lists of one length are mapped over: {told}")


def _width(binding: Any) -> int | None:
    """The length of a list to map over, when the spec shows it."""
    match binding:
        case {"list": list() as items}:
            return len(items)
        case {"value": {"type": "list", "length": int() as length}}:
            return length
    return None
