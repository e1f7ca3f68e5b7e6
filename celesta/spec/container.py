"""What a container task may be: its command, and inputs and outputs that can lie as files.

Called by `celesta.containers` where a task is made and by `celesta.spec.shapes` for a spec that anyone may have sent,
after the interface was found to be one. Yields problems at a path, and never raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from celesta.codecs.tags import APART
from celesta.command import NAME, command_problems
from celesta.errors import Problem
from celesta.types import TypeDoc, spell

_AS_FILES = {"inputs": {"file", "directory", "ndarray", "table"}, "outputs": {"file", "directory"}}
_ADVICE = {
    "inputs": "give each file an input of its own, or all of them as a Directory",
    "outputs": "a command leaves a File, a Directory, or a value as JSON",
}


def container_problems(doc: dict[str, Any], where: str) -> Iterator[Problem]:
    """What keeps the document of a container task, whose interface is right, from being one."""
    dot = f"{where}." if where else ""
    command, interface = doc.get("command"), doc["interface"]
    if not isinstance(doc.get("image"), str) or not doc["image"].strip():
        yield Problem(f"{dot}image", 'is no image, such as "python:3.11-slim"')
    for side in ("inputs", "outputs"):
        for port in interface[side]:
            yield from _port_problems(port, side, f"{dot}{side}.{port['name']}")
    if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
        yield Problem(f"{dot}command", 'is no list of words, such as ["convert", "{{inputs.picture}}"]')
    else:
        inputs, outputs = ([port["name"] for port in interface[side]] for side in ("inputs", "outputs"))
        yield from command_problems(command, inputs, outputs, f"{dot}command")


def _port_problems(port: dict[str, Any], side: str, where: str) -> Iterator[Problem]:
    kind = port["type"]["kind"]
    if not NAME.fullmatch(port["name"]):
        yield Problem(where, "is no name: use letters, digits and _, beginning with a letter")
    if kind not in _AS_FILES[side] and _holds_stored(port["type"]):
        yield Problem(where, f"{spell(port['type'])} cannot lie as a file; {_ADVICE[side]}")


def _holds_stored(doc: TypeDoc) -> bool:
    """Whether something of the type is not JSON."""
    if doc["kind"] in APART:
        return True
    parts = [doc[name] for name in ("items", "keys", "values", "of", "rest", "fields") if name in doc]
    inner = (one for part in parts for one in (part if isinstance(part, list) else [part]))
    return any(_holds_stored(one.get("type", one)) for one in inner if isinstance(one, dict))
