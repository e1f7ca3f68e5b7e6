"""`when`: one of two branches, chosen by a run from what its steps came to.

Called by users, in a workflow's body. Both sides are traced; their steps carry a guard, so that those of the side not
taken are skipped. What `when` gives stands for the value of the side that is taken. Refuses a condition that is not
true or false, and sides that are calls already instead of functions to call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from celesta.conditions import Condition, truth
from celesta.errors import Problem, SpecError
from celesta.frames import user_line
from celesta.graph import Guard, Trace, current_trace
from celesta.placing import holds_promise, place
from celesta.promises import Outputs, Promise
from celesta.tasks import checked_name
from celesta.types import ANY, TypeDoc, type_of

Side = Callable[[], Any]


@dataclass
class Branch:
    """A step that decides. `inputs` are the values that the test names."""

    path: str
    test: Any
    inputs: dict[str, Any]
    guard: Guard | None
    line: str


@dataclass
class Merge:
    """A step that has the outputs of the side that was taken; a side without the values gives None for its own."""

    path: str
    branch: str
    then: dict[str, Any] | None
    otherwise: dict[str, Any] | None
    outputs: dict[str, TypeDoc]
    after: list[str]
    guard: Guard | None
    line: str


def when(condition: Any, *, then: Side, otherwise: Side | None = None, name: str | None = None) -> Any:
    """The value of `then()` when the condition holds, else that of `otherwise()`; the other side's steps are skipped.

    The condition compares outputs of steps (`best.score >= 0.9`), or is one that is a bool; `&`, `|` and `~` join
    conditions. Without `otherwise`, what uses the value is skipped as well when the condition does not hold.
    """
    _check_sides(then, otherwise)
    going = current_trace()
    if going is None or isinstance(condition, bool):
        chosen = then if _known(condition) else otherwise
        return None if chosen is None else chosen()
    return _trace_when(going, truth(condition), then, otherwise, checked_name(name or "when", user_line()))


def _trace_when(going: Trace, condition: Any, then: Side, otherwise: Side | None, name: str) -> Any:
    line, guard = user_line(), going.guard
    inputs: dict[str, Any] = {}
    test = _test(condition, inputs)
    problems = [problem for value in inputs.values() for problem in place(value, ANY, "", going)]
    if problems:
        raise SpecError(f"{line}: when(...) cannot run", problems)
    path = going.take_path(name)
    going.steps.append(Branch(path, test, inputs, guard, line))
    begun = len(going.steps)
    sides = [_traced(going, (path, True), then), _traced(going, (path, False), otherwise)]
    named = [_by_name(side) for side in sides]
    if all(named) and [*named[0]] != [*named[1]]:
        told = " and ".join(", ".join(one) for one in named)
        raise SpecError(f"{line}: the sides of when(...) give different outputs: {told}; give the same from both")
    outputs = _types(*named)
    after = [] if outputs else [step.path for step in going.steps[begun:]]
    problems = [p for side in named for value in side.values() for p in place(value, ANY, "", going)]
    if problems:
        raise SpecError(f"{line}: when(...) gives what no step can be given", problems)
    merge = Merge(
        going.take_path(f"{name}.result"), path, named[0] or None, named[1] or None, outputs, after, guard, line
    )
    going.steps.append(merge)
    promises = {output: Promise(going, merge.path, output, doc) for output, doc in outputs.items()}
    if [*promises] == ["result"]:
        return promises["result"]
    return Outputs(going, merge.path, promises, unpacks=all(_unpacks(side) for side in sides))


def _check_sides(then: Any, otherwise: Any) -> None:
    for side, given in (("then", then), ("otherwise", otherwise)):
        missing = side == "otherwise" and given is None
        if not missing and (isinstance(given, Promise | Outputs) or not callable(given)):
            raise SpecError(
                f"{user_line()}: {side}= of when(...) is called when its side is traced: write {side}=lambda: ..., "
                "else its steps would run in either case"
            )


def _known(condition: Any) -> bool:
    if type(condition) is int and -2 <= condition <= 1:
        return bool(condition & 1)  # ~True is -2 in Python, and the lowest bit is right after any of &, | and ~
    if not isinstance(condition, bool) and type(condition).__name__ not in ("bool", "bool_"):  # numpy has its own
        raise SpecError(
            f"{user_line()}: when(...) wants a condition that is true or false, not a {type(condition).__name__}"
        )
    return bool(condition)


def _traced(going: Trace, guard: Guard, side: Side | None) -> Any:
    if side is None:
        return None
    before, going.guard = going.guard, guard
    try:
        return side()
    finally:
        going.guard = before


def _test(condition: Any, inputs: dict[str, Any]) -> Any:
    """The condition as data; the values it is about are put into `inputs`, under names that people can read."""
    if isinstance(condition, Condition):
        return {"test": condition.test, "of": [_test(part, inputs) for part in condition.parts]}
    name = _name(condition)
    inputs[name] = condition
    return name


def _name(value: Any) -> str:
    if not isinstance(value, Promise):
        return repr(value)
    if value._path is None:
        return value._output
    return value._path if value._output == "result" else f"{value._path}.{value._output}"


def _by_name(side: Any) -> dict[str, Any]:
    """What a side gives, by output; nothing when it gives nothing."""
    if isinstance(side, Outputs):
        return dict(side._by_name)
    return {} if side is None else {"result": side}


def _unpacks(side: Any) -> bool:
    return side is None or (isinstance(side, Outputs) and side._unpacks)


def _types(then: Mapping[str, Any], otherwise: Mapping[str, Any]) -> dict[str, TypeDoc]:
    """An output's type is either side's."""
    found: dict[str, TypeDoc] = {}
    for name in then or otherwise:
        docs: list[TypeDoc] = []
        for doc in (_type(side[name]) for side in (then, otherwise) if name in side):
            docs += [one for one in (doc["of"] if doc["kind"] == "union" else [doc]) if one not in docs]
        found[name] = docs[0] if len(docs) == 1 else {"kind": "union", "of": docs}
    return found


def _type(value: Any) -> TypeDoc:
    if isinstance(value, Promise):
        return value._type
    if holds_promise(value) or isinstance(value, list | dict):
        return {"kind": "list", "items": ANY} if isinstance(value, list) else ANY
    try:
        return type_of(type(value))
    except SpecError as error:
        raise SpecError(f"{user_line()}: when(...) gives what cannot be stored", [Problem("", str(error))]) from error
