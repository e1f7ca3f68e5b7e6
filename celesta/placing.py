"""Values put into the inputs of a step while tracing: constants, promises, and lists and dicts that hold promises.

Called by `celesta.graph` for every input and output. Says everything that does not fit, and never changes a value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from celesta.conditions import Condition
from celesta.errors import Problem
from celesta.promises import Outputs, Promise, describe
from celesta.types import TypeDoc, accepts, check, inside, spell


def holds_promise(value: Any) -> bool:
    """Whether something in the value is known only at run time."""
    if isinstance(value, Promise | Outputs):
        return True
    return any(holds_promise(part) for part in _parts(value))


def place(value: Any, wanted: TypeDoc, where: str, trace: object) -> list[Problem]:
    """What is wrong with giving `value` where `wanted` is declared, in the workflow that `trace` traces."""
    if isinstance(value, Promise):
        return _place_promise(value, wanted, where, trace)
    if isinstance(value, Condition):
        return [Problem(where, "a condition is for when(...) only: let a task compare, and return a bool")]
    if isinstance(value, Outputs):
        return [Problem(where, f'step "{value._path}" has no single output: {value.advice()}')]
    if not holds_promise(value):
        return check(value, wanted, where)
    if isinstance(value, list):
        return _place_list(value, wanted, where, trace)
    if isinstance(value, dict):
        return _place_dict(value, wanted, where, trace)
    return [
        Problem(
            where, f"a {type(value).__name__} cannot hold outputs of steps: pass a list, a dict, or the output itself"
        )
    ]


def place_items(value: Any, wanted: TypeDoc, where: str, trace: object) -> tuple[Any, int | None, list[Problem]]:
    """The list to map over with its length (None when only the run knows it), and what is wrong with it."""
    if isinstance(value, Promise):
        return value, None, _place_promise(value, {"kind": "list", "items": wanted}, where, trace)
    if isinstance(value, tuple | range) and not hasattr(value, "_fields"):
        value = list(value)
    if not isinstance(value, list):
        advice = "map over a list, or write unmapped(...) for what is the same for each item"
        told = value.advice() if isinstance(value, Outputs) else advice
        return value, None, [Problem(where, f"a value of type {type(value).__name__} cannot be mapped over: {told}")]
    problems = [problem for i, item in enumerate(value) for problem in place(item, wanted, f"{where}[{i}]", trace)]
    return value, len(value), problems[:20]


def _place_promise(promise: Promise, wanted: TypeDoc, where: str, trace: object) -> list[Problem]:
    if promise._trace is not trace:
        return [Problem(where, f"{describe(promise)} belongs to another workflow")]
    reason = accepts(wanted, promise._type)
    return [Problem(where, f"{reason} by {describe(promise)}")] if reason else []


def _place_list(value: list[Any], wanted: TypeDoc, where: str, trace: object) -> list[Problem]:
    inner = inside(wanted, "list")
    if inner is None:
        return [Problem(where, f"{spell(wanted)} is wanted, a list is given")]
    return [problem for i, item in enumerate(value) for problem in place(item, inner, f"{where}[{i}]", trace)]


def _place_dict(value: dict[Any, Any], wanted: TypeDoc, where: str, trace: object) -> list[Problem]:
    inner = inside(wanted, "dict")
    if inner is None:
        return [Problem(where, f"{spell(wanted)} is wanted, a dict is given")]
    problems = [
        Problem(where, f"the key {key!r} is not text, in a dict that holds outputs")
        for key in value
        if type(key) is not str
    ]
    return problems + [p for key, item in value.items() for p in place(item, inner, f"{where}[{key!r}]", trace)]


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple | set | frozenset):
        yield from value
    elif isinstance(value, dict):
        yield from value.values()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for one in dataclasses.fields(value):
            yield getattr(value, one.name, None)
