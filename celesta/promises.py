"""What stands for a value that is known only when a run gets there, while a workflow is traced.

`Promise` is one such value, `Outputs` the several named ones of a step. Made by `celesta.graph`; seen by user code, so
whatever cannot work on a value not yet known (`if`, `for`, arithmetic, indexing) raises here, at the user's line, and
says what to do instead. What compares promises is in `celesta.conditions`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from celesta.errors import SpecError
from celesta.frames import user_line
from celesta.types import TypeDoc, spell


class Promise:
    """One value to come: a workflow input, or an output of a step."""

    __slots__ = ("_output", "_path", "_trace", "_type")

    def __init__(self, trace: object, path: str | None, output: str, type_doc: TypeDoc) -> None:
        self._trace = trace
        self._path = path
        self._output = output
        self._type = type_doc

    def __repr__(self) -> str:
        return f"<{describe(self)}: {spell(self._type)}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        advice = f'pass it to a task that reads ".{name}"'
        if self._path is not None:
            advice += (
                f", or let {describe(self).removeprefix('the output of ')} return a NamedTuple or dataclass with it"
            )
        raise SpecError(
            f'{user_line()}: ".{name}" of {describe(self)} is not known while a workflow is traced; {advice}'
        )


class Outputs:
    """The named outputs of one step; those of a NamedTuple can be unpacked too. A step may have none."""

    __slots__ = ("_by_name", "_path", "_trace", "_unpacks")

    def __init__(self, trace: object, path: str, by_name: dict[str, Promise], unpacks: bool) -> None:
        self._trace = trace
        self._path = path
        self._by_name = by_name
        self._unpacks = unpacks

    def __repr__(self) -> str:
        return f'<outputs of step "{self._path}": {", ".join(self._by_name) or "none"}>'

    def __getattr__(self, name: str) -> Promise:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in self._by_name:
            return self._by_name[name]
        raise SpecError(f'{user_line()}: step "{self._path}" has no output "{name}"; {self.advice()}')

    def __iter__(self) -> Iterator[Promise]:
        return iter(self._several("unpacked"))

    def __getitem__(self, index: int) -> Promise:
        return self._several("indexed")[index]

    def __len__(self) -> int:
        return len(self._several("counted"))

    def advice(self) -> str:
        if self._by_name:
            return f"its outputs are {', '.join(f'.{name}' for name in self._by_name)}"
        return "it returns nothing: to run a step after it, write .with_options(after=[...])"

    def _several(self, verb: str) -> list[Promise]:
        if not self._unpacks:
            raise SpecError(f'{user_line()}: the outputs of step "{self._path}" cannot be {verb}; {self.advice()}')
        return list(self._by_name.values())


def describe(promise: Promise) -> str:
    if promise._path is None:
        return f'the input "{promise._output}"'
    whole = promise._output == "result"
    return (
        f'the output of step "{promise._path}"'
        if whole
        else f'the output "{promise._output}" of step "{promise._path}"'
    )


_MISUSES = {
    "used in an `if`": (
        ("bool", "contains"),
        "write when(condition, then=lambda: ..., otherwise=lambda: ...), or decide inside a task",
    ),
    "iterated over or unpacked": (
        ("iter", "len", "next", "reversed"),
        "map a task over it with .map(...), or loop inside a task",
    ),
    "indexed": (("getitem",), "pick the item inside a task"),
    "used in arithmetic": (
        ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "floordiv", "rfloordiv", "mod", "rmod",
         "pow", "rpow", "matmul", "rmatmul", "xor", "rxor", "lshift", "rshift", "neg", "pos", "abs", "round"),
        "compute inside a task",
    ),
    "turned into text or a number": (
        ("str", "format", "int", "float", "index", "complex", "bytes", "fspath"),
        "do it inside a task",
    ),
    "called": (("call",), "pass functions by importing them in the task's module"),
    "changed": (("setitem", "delitem", "iadd"), "make a new value inside a task"),
}  # fmt: skip


def _refusal(used: str, instead: str) -> Callable[..., NoReturn]:
    def refuse(self: Promise, *_: object) -> NoReturn:
        raise SpecError(
            f"{user_line()}: {describe(self)} is not known while a workflow is traced: it cannot be {used}; {instead}"
        )

    return refuse


for _used, (_names, _instead) in _MISUSES.items():
    for _name in _names:
        setattr(Promise, f"__{_name}__", _refusal(_used, _instead))
