"""Conditions: promises compared with each other or with constants, joined by `&`, `|` and `~`, for `when` to decide by.

Gives `Promise` its comparisons; `celesta.graph` imports it, so that they are there whenever promises are. Types are
checked at the user's line. The run decides, by `celesta.spec.conditions`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from celesta.errors import SpecError
from celesta.frames import user_line
from celesta.promises import Promise, describe
from celesta.types import TypeDoc, accepts, spell, type_of


class Condition:
    """What a run will know to be true or false: promises compared, or conditions joined by `&`, `|` and `~`."""

    __slots__ = ("parts", "test")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, test: str, *parts: Any) -> None:
        self.test = test
        self.parts = parts

    def __repr__(self) -> str:
        return f"<condition {self.test} of {', '.join(map(repr, self.parts))}>"

    def __bool__(self) -> NoReturn:
        raise SpecError(
            f"{user_line()}: a condition is not known while a workflow is traced: it cannot be used in an `if`, nor "
            "with and, or, not; join conditions by &, | and ~, each in parentheses, and write when(condition, then=...)"
        )


_COMPARED = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_ORDERED = ("int", "float", "str", "any")
_DECIDED = (*_ORDERED, "bool", "none", "enum", "literal")


def _compare(test: str) -> Callable[[Promise, Any], Condition]:
    def compare(self: Promise, other: Any) -> Condition:
        problem = _not_comparable(test, self._type, _type_of(other))
        if problem:
            raise SpecError(f"{user_line()}: {describe(self)} {_COMPARED[test]} ...: {problem}")
        return Condition(test, self, other)

    return compare


def _not_comparable(test: str, left: TypeDoc, right: TypeDoc | None) -> str | None:
    """Why these cannot be compared while a run goes on, by what their types tell."""
    advice = "compare inside a task that returns a bool"
    wanted = _DECIDED if test in ("eq", "ne") else _ORDERED
    for one in (left, right):
        if one is None or any(kind not in wanted for kind in kinds_of(one)):
            told = "this" if one is None else spell(one)
            return f"{told} cannot be compared so; {advice}"
    if right is not None and accepts(left, right) and accepts(right, left):
        return f"{spell(left)} is never {spell(right)}; {advice}"
    return None


def kinds_of(doc: TypeDoc) -> list[str]:
    return [kind for one in doc["of"] for kind in kinds_of(one)] if doc["kind"] == "union" else [doc["kind"]]


def _type_of(value: Any) -> TypeDoc | None:
    """The type of a promise or of a constant; None for what no condition takes."""
    if isinstance(value, Promise):
        return value._type
    try:
        return type_of(type(value))
    except SpecError:
        return None


def _join(test: str) -> Callable[[Any, Any], Condition]:
    def join(self: Any, other: Any) -> Condition:
        return Condition(test, truth(self), truth(other))

    return join


def truth(value: Any) -> Any:
    """The value, when it may stand in a condition by itself: a condition, or a promise of a bool."""
    if isinstance(value, Condition | bool) or (isinstance(value, Promise) and _may_be_bool(value._type)):
        return value
    told = f"{describe(value)} is {spell(value._type)}" if isinstance(value, Promise) else f"{value!r} is given"
    raise SpecError(
        f"{user_line()}: a condition is true or false: {told}; compare it with something, such as (x > 0), or let a "
        "task return a bool. Comparisons that are joined by & or | stand in parentheses"
    )


def _may_be_bool(doc: TypeDoc) -> bool:
    return all(kind in ("bool", "any") for kind in kinds_of(doc))


for _test in _COMPARED:
    setattr(Promise, f"__{_test}__", _compare(_test))
for _class in (Promise, Condition):
    for _test in ("and", "or"):
        setattr(_class, f"__{_test}__", _join(_test))
        setattr(_class, f"__r{_test}__", _join(_test))
    setattr(_class, "__invert__", lambda self: Condition("not", truth(self)))  # noqa: B010
