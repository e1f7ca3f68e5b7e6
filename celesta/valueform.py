"""Values that code reaches, as plain data to be hashed: constants, containers, and objects of classes.

The base of `celesta.source`'s walk, which adds functions, classes and modules. Equal values give equal forms, in any
process and on any machine. An object counts by its class and its attributes when all of it is Python; what keeps state
that cannot be read (open files, sockets, generators, random generators) is refused with the path that leads to it.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import json
import logging
import operator
import re
import sys
import threading
import types
import typing
import uuid
from pathlib import Path, PurePath
from typing import Any

from celesta.blobs import MemoryBlobs
from celesta.classparts import is_local_class
from celesta.errors import CodecError, SourceError
from celesta.syntax import constant
from celesta.types import known_class

_SCALARS = (type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented))
_BY_REPR = (
    dt.date, dt.time, dt.timedelta, dt.tzinfo, decimal.Decimal, fractions.Fraction, uuid.UUID, range, slice, bytearray,
    operator.itemgetter, operator.attrgetter, operator.methodcaller, typing.TypeVar, typing.ParamSpec,
)  # fmt: skip
_BUILTINS = (
    types.BuiltinFunctionType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.GetSetDescriptorType,
)
_LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Event, threading.Condition, threading.Semaphore)
_ALIASES = (types.GenericAlias, types.UnionType, type(list[int]), type(typing.Optional[int]), type(typing.List[int]))  # noqa: UP006, UP045
_MISSING = object()
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_MADE = {"__dict__", "__weakref__", "__slots__"}  # what a class statement makes, and few types in C have


class Forms:
    """Makes forms; `function`, `cls` and `module` are given by the walk over code."""

    def __init__(self, strict: bool, root: Path) -> None:
        self.strict = strict
        self.root = root
        self._inside: list[int] = []  # ids of the objects on the way down, to end at one that holds itself

    def function(self, function: types.FunctionType, where: str) -> Any:
        """The form of a Python function."""
        raise TypeError(where)

    def cls(self, cls: type, where: str) -> Any:
        """The form of a class."""
        raise TypeError(where)

    def module(self, module: types.ModuleType, where: str) -> Any:
        """The form of a module."""
        raise TypeError(where)

    def form(self, value: Any, where: str) -> Any:
        """A value as data that JSON can spell. `where` says how it was reached. Raises `SourceError`."""
        if type(value) in _SCALARS:
            return constant(value)
        if isinstance(value, types.FunctionType):
            return self.function(value, where)
        if isinstance(value, type) and not isinstance(value, types.GenericAlias):
            return self.cls(value, where)
        if isinstance(value, types.ModuleType):
            return self.module(value, where)
        if id(value) in self._inside:
            return ["above", len(self._inside) - self._inside.index(id(value))]
        self._inside.append(id(value))
        try:
            return self._object(value, where)
        finally:
            self._inside.pop()

    def by_name(self, value: Any) -> list[Any]:
        """Installed code: the top module and the name, since where inside it lies differs between its versions."""
        module = (getattr(value, "__module__", None) or "builtins").partition(".")[0]
        return ["installed", module, getattr(value, "__qualname__", None) or type(value).__qualname__]

    def made_class(self, cls: type, where: str) -> Any:
        """A class without a `class` statement: a NamedTuple or enum that was made by a call."""
        if hasattr(cls, "_fields"):
            return ["made", cls.__name__, list(cls._fields), self.form(getattr(cls, "_field_defaults", {}), where)]
        if issubclass(cls, enum.Enum):
            return ["made", cls.__name__, [[name, self.form(m.value, where)] for name, m in cls.__members__.items()]]
        raise SourceError(f"{where} is a class that was made by code, and its source is not found")

    def _object(self, value: Any, where: str) -> Any:
        for known in (self._container, self._callable, self._named):
            found = known(value, where)
            if found is not _MISSING:
                return found
        if known_class(type(value)) is not None:
            return ["stored", _stored_digest(value, where)]
        return self._attributes(value, where)

    def _container(self, value: Any, where: str) -> Any:
        if isinstance(value, enum.Enum):
            return ["member", self.cls(type(value), where), value.name]
        if isinstance(value, list | tuple | collections.deque):
            items = [self.form(one, f"{where}[{i}]") for i, one in enumerate(value)]
            return [*self._kind(value, where), items, *([value.maxlen] if isinstance(value, collections.deque) else [])]
        if isinstance(value, set | frozenset):
            items = sorted((self.form(one, f"{where}{{...}}") for one in sorted(value, key=_name_of)), key=json.dumps)
            return [*self._kind(value, where), items]
        if isinstance(value, dict | types.MappingProxyType):
            pairs = [[self.form(k, f"a key of {where}"), self.form(v, f"{where}[{k!r}]")] for k, v in value.items()]
            made = self.form(getattr(value, "default_factory", None), where)
            return [*self._kind(value, where), pairs, made]
        if isinstance(value, str | int | float | bytes):  # a class derived from one
            base: Any = next(one for one in (str, int, float, bytes) if isinstance(value, one))
            return [*self._kind(value, where), constant(base(value))]
        return _MISSING

    def _callable(self, value: Any, where: str) -> Any:
        if _is_task(value):
            return self.form(value.function, where)
        if isinstance(value, functools.partial):
            return ["partial", *(self.form(one, where) for one in (value.func, value.args, value.keywords))]
        if isinstance(value, types.MethodType):
            return ["method", self.form(value.__func__, where), self.form(value.__self__, where)]
        if isinstance(value, staticmethod | classmethod | property):
            inner = [value.fget, value.fset] if isinstance(value, property) else [value.__func__]
            return [type(value).__name__, *(self.form(one, where) for one in inner)]
        if isinstance(value, _BUILTINS):
            of = getattr(value, "__self__", None)
            bound = [] if of is None or isinstance(of, types.ModuleType | type) else [self.form(of, where)]
            return [*self.by_name(value), *bound]
        wrapped = vars_of(value).get("__wrapped__")
        if callable(wrapped) and not is_local_class(type(value)):
            return ["wrapped", *self.by_name(type(value))[1:], self.form(wrapped, where)]
        return _MISSING

    def _named(self, value: Any, where: str) -> Any:
        if isinstance(value, _BY_REPR) and type(value).__repr__ is not object.__repr__:
            return self._by_repr(value, where)
        if isinstance(value, re.Pattern):
            return ["pattern", constant(value.pattern), value.flags]
        if isinstance(value, PurePath):
            below = value.is_absolute() and value.is_relative_to(self.root)  # differs between checkouts
            return ["path", value.relative_to(self.root).as_posix() if below else value.as_posix()]
        if isinstance(value, logging.Logger):
            return ["logger", value.name]
        if isinstance(value, _LOCKS):
            return ["lock", type(value).__name__]
        if type(value) is object:
            return ["object"]
        if isinstance(value, typing.NewType):
            return ["newtype", value.__name__, self.form(value.__supertype__, where)]
        if isinstance(value, _ALIASES) or type(value).__module__ == "typing":
            arguments = [self.form(one, where) for one in typing.get_args(value)]
            return ["hint", str(typing.get_origin(value)) if arguments else str(value), arguments]
        if type(value).__module__ == "numpy" and hasattr(value, "dtype") and getattr(value, "shape", None) == ():
            return ["numpy", str(value.dtype), self.form(value.item(), where)]
        if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "newbyteorder"):
            return ["dtype", str(value)]
        return _MISSING

    def _by_repr(self, value: Any, where: str) -> Any:
        """By what it says of itself; a class of the user's may say less than it holds, so its base is asked."""
        base = next(one for one in type(value).__mro__ if not is_local_class(one))
        spell: Any = base.__repr__
        text = str(spell(value))
        if base is dt.tzinfo or _ADDRESS.search(text):
            return _MISSING
        return [type(value).__name__, text] if base is type(value) else [*self._derived(value, where), text]

    def _attributes(self, value: Any, where: str) -> Any:
        cls = type(value)
        if not (isinstance(value, types.SimpleNamespace) or all(_is_python(one) for one in cls.__mro__[:-1])):
            return self._opaque(cls, where)
        try:
            return ["object", self.cls(cls, where), self._held(value, where)]
        except SourceError as error:
            if is_local_class(cls) or "made by" in str(error):
                raise
            return self._opaque(cls, where)  # what an installed class holds inside means nothing to the user

    def _opaque(self, cls: type, where: str) -> Any:
        if self.strict:
            raise SourceError(f'"{where}" is {_spelled(cls)}, which has no digest')
        return ["opaque", *self.by_name(cls)[1:]]

    def _kind(self, value: Any, where: str) -> list[Any]:
        cls = type(value)
        plain = cls.__module__ in ("builtins", "collections")
        return [cls.__name__] if plain else self._derived(value, where)

    def _derived(self, value: Any, where: str) -> Any:
        """An object of a class derived from a plain one: the class, and the attributes that it may have."""
        return ["derived", self.cls(type(value), where), self._held(value, where)]

    def _held(self, value: Any, where: str) -> list[Any]:
        named = ((str(name), one) for name, one in vars_of(value).items() if name not in functools.WRAPPER_ASSIGNMENTS)
        held = sorted(named, key=lambda item: item[0])
        return [[name, self.form(one, f"{where}.{name}")] for name, one in held]


def vars_of(value: Any) -> dict[str, Any]:
    """Attributes of an object, those in slots included."""
    held = dict(getattr(value, "__dict__", {}))
    for cls in type(value).__mro__:
        slots = vars(cls).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                held[name] = getattr(value, name)
    return held


def _name_of(value: Any) -> list[Any]:
    """An order for the members of a set that is the same in every process: theirs follows addresses and seeds."""
    if isinstance(value, tuple):
        return ["tuple", *(part for one in value for part in _name_of(one))]
    named = value if isinstance(value, types.FunctionType | type) else type(value)
    return [named.__module__, named.__qualname__]


def _is_python(cls: type) -> bool:
    """Whether a class is written in Python, so that its objects hide nothing. (One in C may claim a Python module.)"""
    if cls in (typing.Generic, dt.tzinfo) or dataclasses.is_dataclass(cls):
        return True
    made = any(_MADE & vars(base).keys() for base in cls.__mro__[:-1])
    return made and str(getattr(sys.modules.get(cls.__module__), "__file__", None)).endswith(".py")


def _is_task(value: Any) -> bool:
    return any((base.__module__, base.__name__) in _OURS for base in type(value).__mro__)


_OURS = {("celesta.tasks", "Task"), ("celesta.workflows", "Workflow")}


def _stored_digest(value: Any, where: str) -> str:
    from celesta.codecs import encode

    try:
        ref = encode(value, {"kind": "any"}, MemoryBlobs())
    except CodecError as error:
        raise SourceError(f'"{where}" has no digest: {error}') from error
    return str(ref["digest"])


def _spelled(cls: type) -> str:
    known = {"TextIOWrapper": "an open file", "BufferedReader": "an open file", "BufferedWriter": "an open file"}
    name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    return f"{known[cls.__name__]} ({name})" if cls.__name__ in known else f"a {name}"
