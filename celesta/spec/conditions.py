"""Tests of branches: the one function that decides, and what keeps a document from being a test (contracts, section 4).

A test is the name of an input of its step, or `{"test": "ge", "of": [TEST, TEST]}`. The engine and the local runner
call `decide` with the references of those inputs. Pure, and small: it sees numbers, texts, booleans, null and enums
that a reference holds itself, and loads nothing.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from celesta.errors import ConditionError, Problem

Ref = Mapping[str, Any]

COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
}  # fmt: skip
JOINED = {"and": 2, "or": 2, "not": 1}
_TAKES = dict.fromkeys(COMPARED, 2) | JOINED
_DEPTH = 40


def decide(test: Any, inputs: Mapping[str, Ref]) -> bool:
    """Whether a test holds for these inputs. Raises `ConditionError` when they are not such as it can decide by."""
    if isinstance(test, str):
        return _truth(test, inputs)
    name, parts = test["test"], test["of"]
    if name == "not":
        return not decide(parts[0], inputs)
    if name in JOINED:  # both sides, always: whether a run fails does not hang on the order
        left, right = [decide(part, inputs) for part in parts]
        return (left and right) if name == "and" else (left or right)
    return _compare(name, *[(part, _scalar(part, inputs[part])) for part in parts])


def condition_problems(test: Any, inputs: Mapping[str, Any], where: str, depth: int = 0) -> Iterator[Problem]:
    """What keeps `test` from being a test over inputs of these names."""
    if isinstance(test, str):
        if test not in inputs:
            yield Problem(where, f'names "{test}", which is no input of it')
        return
    name = test.get("test") if isinstance(test, dict) else None
    parts = test.get("of") if isinstance(test, dict) else None
    wanted = _TAKES.get(name) if isinstance(name, str) else None
    if wanted is None or not isinstance(parts, list) or len(parts) != wanted or depth > _DEPTH:
        yield Problem(where, f"is no test: the name of an input, or one of {', '.join((*COMPARED, *JOINED))} of tests")
    elif name in COMPARED and not all(isinstance(part, str) for part in parts):
        yield Problem(where, f'"{name}" compares two inputs')
    else:
        for part in parts:
            yield from condition_problems(part, inputs, where, depth + 1)


def _truth(name: str, inputs: Mapping[str, Ref]) -> bool:
    value = _scalar(name, inputs[name])
    if not isinstance(value, bool):
        told = f"{name} is {_told(value)}, and a condition is true or false"
        raise ConditionError(f"{told}: compare it, or let the task return a bool")
    return value


def _compare(name: str, left: tuple[str, Any], right: tuple[str, Any]) -> bool:
    a, b = left[1], right[1]
    alike = _kind(a) == _kind(b)
    if name in ("eq", "ne"):  # 1 is not True, and nothing is like None but None
        return COMPARED[name](a, b) if alike else name == "ne"
    if not alike or _kind(a) not in ("number", "text"):
        told = f"{left[0]} is {_told(a)} and {right[0]} is {_told(b)}"
        raise ConditionError(f"{told}: only two numbers or two texts have an order")
    return COMPARED[name](a, b)


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool | tuple):
        return type(value).__name__
    return "text" if isinstance(value, str) else "number"


def _scalar(name: str, ref: Ref) -> Any:
    value = ref.get("inline") if ref.get("type") == "json" and "inline" in ref else ...
    try:
        if isinstance(value, dict) and set(value) == {"f"}:
            return float.fromhex(value["f"])
        if isinstance(value, dict) and set(value) == {"e"}:
            return tuple(value["e"])
    except (TypeError, ValueError, OverflowError):
        raise ConditionError(f"{name} is {value!r:.80}, which is no number and no member of an enum") from None
    if value is ... or isinstance(value, dict | list):
        told = "a large value" if ref.get("type") == "json" and "inline" not in ref else f"a {_type_told(ref)}"
        raise ConditionError(
            f"{name} is {told}; a condition takes numbers, texts, booleans, None and enums: compare inside a task that "
            "returns a bool"
        )
    return value


def _type_told(ref: Ref) -> str:
    return "container" if ref.get("type") == "json" else str(ref.get("type"))


def _told(value: Any) -> str:
    return repr(value[-1] if isinstance(value, tuple) else value)
