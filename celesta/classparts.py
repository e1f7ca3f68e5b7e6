"""What of a class or function takes part in a digest besides its text: attributes set from outside, and closures.

Called by `celesta.source`. The text of a class is not all of it: a class made inside a function closes over that
function's variables, one of two branches may have defined it, and `Config.rate = 0.2` below a class is as good as a
line in it. Only looks; what is found here is turned into forms by the caller.
"""

from __future__ import annotations

import ast
import functools
import sys
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

from celesta.errors import SpecError
from celesta.layout import is_local
from celesta.syntax import Definition
from celesta.types import resolved_hints

_SCALARS = (type(None), bool, int, float, complex, str, bytes)
_DEPTH = 20


def is_plain(value: Any, depth: int = 0) -> bool:
    """Whether a value is data, functions and classes all the way down, so that its form always exists."""
    if type(value) in _SCALARS or isinstance(value, types.FunctionType | type):
        return True
    if depth > _DEPTH:
        return False
    if type(value) is dict:
        return all(is_plain(part, depth + 1) for pair in value.items() for part in pair)
    return type(value) in (list, tuple, set, frozenset) and all(is_plain(part, depth + 1) for part in value)


def is_local_class(cls: type) -> bool:
    """Whether a class is the user's own."""
    return is_local(getattr(sys.modules.get(cls.__module__), "__file__", None))


def chosen(cls: type, nodes: list[Definition], filename: str) -> list[Definition]:
    """Of several definitions of a class, in branches, those that its methods stand in; all when that does not tell."""
    lines = [f.__code__.co_firstlineno for _, f in _functions(cls) if f.__code__.co_filename == filename]
    around = [n for n in nodes if all(_first_line(n) <= line <= (n.end_lineno or 0) for line in lines)]
    return around or nodes


def closure_of(cls: type) -> dict[str, Any]:
    """The variables of an enclosing function that the methods of a class use."""
    found: dict[str, Any] = {}
    for _, function in _functions(cls):
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            if name != "__class__":
                found[name] = cell_content(cell)
    return found


def held_by(cls: type, nodes: list[Definition]) -> Iterator[tuple[str, Any]]:
    """Attributes whose value the text does not tell for certain: data, and what was put there from outside."""
    written = {one.id for node in nodes for one in ast.walk(node) if isinstance(one, ast.Name)}
    for name, value in sorted(vars(cls).items()):
        function = _unwrapped(value)
        if isinstance(function, types.FunctionType):
            if function.__qualname__ != f"{cls.__qualname__}.{name}" and is_local(function.__code__.co_filename):
                yield name, value
        elif isinstance(value, functools.singledispatchmethod):
            yield name, value.dispatcher  # others may have been registered below the class
        elif name.startswith("__") or (name.startswith("_") and name not in written):
            continue
        elif is_plain(value) or (name not in written and is_local_class(type(value))) or _is_lost(value, cls):
            yield name, value


def _is_lost(value: Any, cls: type) -> bool:
    """Whether an attribute may be made of variables that are gone: those of the function that made the class."""
    slot = isinstance(value, types.MemberDescriptorType | types.GetSetDescriptorType)
    return "<locals>" in cls.__qualname__ and not slot


def heirs_of(function: Callable[..., Any]) -> list[type]:
    """The classes below those of the user's in the hints of a function's inputs, as far as they are imported."""
    try:
        hints = resolved_hints(function)
    except (SpecError, TypeError, AttributeError):  # A task's were looked at before; others may hint as they like.
        return []
    hints.pop("return", None)
    found = {heir for hint in hints.values() for cls in _classes_in(hint) for heir in _below(cls)}
    return sorted(found, key=lambda cls: (cls.__module__, cls.__qualname__))


def _classes_in(hint: Any) -> Iterator[type]:
    if isinstance(hint, type) and is_local_class(hint):
        yield hint
    for part in typing.get_args(hint):
        yield from _classes_in(part)


def _below(cls: type) -> Iterator[type]:
    heirs: list[type] = type.__subclasses__(cls)
    for heir in heirs:
        if is_local_class(heir) and getattr(sys.modules[heir.__module__], heir.__name__, None) is heir:
            yield heir  # A class that its decorator replaced is below its base as well, and no value is of it.
        yield from _below(heir)


def set_on(function: types.FunctionType) -> list[tuple[str, Any]]:
    """Data that was put on a function as attributes."""
    return [(name, value) for name, value in sorted(vars(function).items()) if name[:2] != "__" and is_plain(value)]


def cell_content(cell: types.CellType) -> Any:
    """What a closure holds; `...` while it holds nothing."""
    try:
        return cell.cell_contents
    except ValueError:
        return ...


def _functions(cls: type) -> Iterator[tuple[str, types.FunctionType]]:
    """The methods that are written in the class: not those of a dataclass, which are made of text without a file."""
    for name, value in vars(cls).items():
        function = _unwrapped(value)
        ours = isinstance(function, types.FunctionType) and function.__qualname__ == f"{cls.__qualname__}.{name}"
        if ours and is_local(function.__code__.co_filename):
            yield name, function


def _unwrapped(value: Any) -> Any:
    if isinstance(value, staticmethod | classmethod):
        return value.__func__
    return value.fget if isinstance(value, property) else value


def _first_line(node: Definition) -> int:
    return min([int(node.lineno), *(int(one.lineno) for one in getattr(node, "decorator_list", ()))])
