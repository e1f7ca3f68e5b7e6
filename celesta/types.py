"""Type hints as data: what a task or workflow takes and gives, in JSON that needs no user class to be read.

`type_of` turns a hint into a type document (contracts, section 3) when a file is imported; `check` holds a Python value
against one; `accepts` says whether what one step gives fits what another wants; `spell` writes one for people.
The compiler and the API use the last three on documents only. Numpy, pandas, polars, pyarrow and pydantic are known by
their names, so nothing is imported that the user has not imported. Refuses hints that cannot be stored, and says what
to write instead.
"""

from __future__ import annotations

import collections.abc as abc
import dataclasses
import datetime as dt
import enum
import math
import sys
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

from celesta.errors import Problem, SpecError
from celesta.making import makes

TypeDoc = dict[str, Any]
T = TypeVar("T")
Pickle = Annotated[T, "pickle"]  # the user's wish that a value is pickled: `-> Pickle[Model]`

ANY: TypeDoc = {"kind": "any"}
FAILURE_TYPE: TypeDoc = {"kind": "dict", "keys": {"kind": "str"}, "values": ANY}
"""What the steps that run on a failure are told of it."""
UNTOLD: Any = object()
_READ_AS_TEXT = {"any", "str", "literal", "none", "bool", "int", "float"}  # a date or an enum would take a text first
_SIMPLE: dict[Any, str] = {
    Any: "any", object: "any", None: "none", type(None): "none", bool: "bool", int: "int", float: "float", str: "str",
    bytes: "bytes", dt.datetime: "datetime", dt.date: "date",
}  # fmt: skip
_BY_NAME: dict[tuple[str, str], TypeDoc] = {
    ("celesta", "File"): {"kind": "file"},
    ("celesta", "Directory"): {"kind": "directory"},
    ("numpy", "ndarray"): {"kind": "ndarray"},
    ("numpy", "floating"): {"kind": "float"},
    ("numpy", "integer"): {"kind": "int"},
    ("numpy", "bool"): {"kind": "bool"},
    ("pandas", "DataFrame"): {"kind": "table", "flavour": "pandas"},
    ("polars", "DataFrame"): {"kind": "table", "flavour": "polars"},
    ("pyarrow", "Table"): {"kind": "table", "flavour": "arrow"},
}
_LISTS = (list, abc.Sequence, abc.MutableSequence, abc.Iterable, abc.Collection)
_SETS = (set, frozenset, abc.Set, abc.MutableSet)
_DICTS = (dict, abc.Mapping, abc.MutableMapping)


def type_of(hint: Any) -> TypeDoc:
    """The type document of a resolved hint. Raises `SpecError` when values of it cannot be stored."""
    return _type_of(hint, ())


def import_name(cls: Any) -> str:
    """`module:Class` as a step will import it: a script's `__main__` is named by its file, relative to its bundle."""
    module = cls.__module__
    if module == "__main__":
        from celesta.layout import main_name

        module = main_name()
    return f"{module}:{cls.__qualname__}"


def _type_of(hint: Any, seen: tuple[Any, ...]) -> TypeDoc:
    if isinstance(hint, abc.Hashable) and hint in _SIMPLE:
        return {"kind": _SIMPLE[hint]}
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return {"kind": "pickle"} if "pickle" in args[1:] else _type_of(args[0], seen)
    if origin is typing.Literal:
        return _literal(args)
    if origin in (typing.Union, types.UnionType):
        return _union([_type_of(arg, seen) for arg in args])
    if isinstance(hint, typing.NewType):
        return _type_of(hint.__supertype__, seen)
    if isinstance(hint, TypeVar):
        return _type_of(hint.__bound__, seen) if hint.__bound__ else dict(ANY)
    container = _container(origin or hint, args, seen)
    if container is not None:
        return container
    cls = origin or hint
    if isinstance(cls, type):
        found = _class(cls, seen)
        if found is not None:
            return found
    raise SpecError(_refusal(hint))


def _container(origin: Any, args: tuple[Any, ...], seen: tuple[Any, ...]) -> TypeDoc | None:
    inner = [_type_of(arg, seen) for arg in args if arg is not Ellipsis] if _is_container(origin) else []
    if origin in _LISTS:
        return {"kind": "list", "items": inner[0] if inner else dict(ANY)}
    if origin in _SETS:
        frozen = {"frozen": True} if origin is frozenset else {}
        return {"kind": "set", "items": inner[0] if inner else dict(ANY)} | frozen
    if origin in _DICTS:
        keys, values = inner or (dict(ANY), dict(ANY))
        return {"kind": "dict", "keys": keys, "values": values}
    if origin is tuple:
        if not args:
            return {"kind": "tuple", "items": [], "rest": dict(ANY)}
        return (
            {"kind": "tuple", "items": [], "rest": inner[0]} if Ellipsis in args else {"kind": "tuple", "items": inner}
        )
    if isinstance(origin, type) and typing.is_typeddict(origin):
        return {"kind": "dict", "keys": {"kind": "str"}, "values": dict(ANY)}
    return None


def _is_container(origin: Any) -> bool:
    return origin in _LISTS or origin in _SETS or origin in _DICTS or origin is tuple


def _literal(values: tuple[Any, ...]) -> TypeDoc:
    wrong = [v for v in values if not isinstance(v, str | int | bool | None)]
    if wrong:
        raise SpecError(f"Literal[{wrong[0]!r}] cannot be stored: a literal is a str, int, bool or None")
    return {"kind": "literal", "values": list(values)}


def _union(members: list[TypeDoc]) -> TypeDoc:
    flat: list[TypeDoc] = []
    for member in members:
        for one in member["of"] if member["kind"] == "union" else [member]:
            if one not in flat:
                flat.append(one)
    return flat[0] if len(flat) == 1 else {"kind": "union", "of": flat}


def _class(cls: type, seen: tuple[Any, ...]) -> TypeDoc | None:
    known = known_class(cls)
    if known is not None:
        return known
    if issubclass(cls, enum.Enum):
        members = {name: m.value if _is_plain(m.value) else name for name, m in cls.__members__.items()}
        return {"kind": "enum", "name": import_name(cls), "members": members}
    fields = record_fields(cls)
    if fields is None:
        return None
    kind, members_of = fields
    if cls in seen:  # a class that holds itself: one level is checked, what is below it is not
        return dict(ANY)
    inner = [_field(name, hint, default, (*seen, cls)) for name, hint, default in members_of]
    doc: TypeDoc = {"kind": kind, "name": import_name(cls), "fields": inner}
    return doc | {"makes": True} if makes(typing.cast("Any", cls)) else doc


def known_class(cls: type) -> TypeDoc | None:
    """The document of a class that is known by its name: files, arrays, tables, and what is derived from them."""
    for base in cls.__mro__:
        known = _BY_NAME.get((base.__module__.partition(".")[0], base.__name__))
        if known is not None:
            return dict(known)
    return None


def record_fields(cls: type) -> tuple[str, list[tuple[str, Any, Any]]] | None:
    """Kind and `(name, hint, default)` of a dataclass, NamedTuple or pydantic model; else None.

    A default is `MISSING` where there is none, and `UNTOLD` where only the class can make it.
    """
    if dataclasses.is_dataclass(cls):
        hints = resolved_hints(cls)
        return "dataclass", [(f.name, hints[f.name], _dataclass_default(f)) for f in dataclasses.fields(cls) if f.init]
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        hints, defaults = resolved_hints(cls), getattr(cls, "_field_defaults", {})
        return "namedtuple", [(n, hints.get(n, Any), defaults.get(n, dataclasses.MISSING)) for n in cls._fields]
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and issubclass(cls, pydantic.BaseModel):
        model = typing.cast("Any", cls).model_fields
        return "pydantic", [(n, f.annotation, _pydantic_default(f)) for n, f in model.items()]
    return None


def _dataclass_default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else _made(field.default_factory)


def _pydantic_default(field: Any) -> Any:
    if field.is_required():
        return dataclasses.MISSING
    return field.default if field.default_factory is None else _made(field.default_factory)


def _made(factory: Any) -> Any:
    return factory() if factory in (list, dict) else UNTOLD


def _field(name: str, hint: Any, default: Any, seen: tuple[Any, ...]) -> TypeDoc:
    doc: TypeDoc = {"name": name, "type": _type_of(hint, seen), "required": default is dataclasses.MISSING}
    told = UNTOLD if default is dataclasses.MISSING else _told(default, doc["type"])
    return doc if told is UNTOLD else doc | {"default": told}


def _told(default: Any, doc: TypeDoc) -> Any:
    """A default as the plain JSON that gives the same value when it is read by its type; `UNTOLD` when none does."""
    if isinstance(default, enum.Enum):
        return default.name if doc["kind"] == "enum" else UNTOLD
    if isinstance(default, float) and not math.isfinite(default):
        return str(default) if doc["kind"] == "float" else UNTOLD
    if isinstance(default, str):
        kinds = {one["kind"] for one in (doc["of"] if doc["kind"] == "union" else [doc])}
        return default if kinds <= _READ_AS_TEXT else UNTOLD
    if type(default) in (list, dict):
        return default if not default and doc["kind"] != "union" else UNTOLD
    return default if _is_plain(default) else UNTOLD


def resolved_hints(obj: Any) -> dict[str, Any]:
    """Hints with names looked up. Raises `SpecError` when a name in a hint is not defined where it is used."""
    try:
        return typing.get_type_hints(obj, include_extras=True)
    except NameError as error:
        raise SpecError(
            f'a type hint of "{obj.__qualname__}" names "{error.name}", which is not defined in its module: '
            "import it at the top of the file, not under TYPE_CHECKING"
        ) from error


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)


def _refusal(hint: Any) -> str:
    name = spell_hint(hint)
    origin = typing.get_origin(hint) or hint
    if origin in (abc.Iterator, abc.Generator, abc.AsyncIterator, abc.AsyncGenerator):
        return f"{name} cannot be stored: a generator is gone once it is read. Write list[...] and return a list"
    if isinstance(origin, type) and any(b.__module__ == "pathlib" for b in origin.__mro__):
        return (
            f"{name} cannot be stored: a path means nothing on another machine. Write celesta.File or celesta.Directory"
        )
    if isinstance(hint, str):
        return f'the hint "{hint}" is text: write the type itself'
    return (
        f"{name} cannot be stored: write a dataclass, a File, a table or an array, "
        f"or Pickle[{name}] (from celesta.types) to have it pickled"
    )


def spell_hint(hint: Any) -> str:
    return hint.__qualname__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def spell(doc: TypeDoc) -> str:
    """The type as people write it: `list[float]`, `int | None`."""
    match doc:
        case {"kind": "list" | "set" as kind, "items": items}:
            return f"{'frozen' if doc.get('frozen') else ''}{kind}[{spell(items)}]"
        case {"kind": "dict", "keys": keys, "values": values}:
            return f"dict[{spell(keys)}, {spell(values)}]"
        case {"kind": "tuple", "rest": rest}:
            return f"tuple[{spell(rest)}, ...]"
        case {"kind": "tuple", "items": items}:
            return f"tuple[{', '.join(map(spell, items))}]"
        case {"kind": "union", "of": members}:
            return " | ".join(map(spell, members))
        case {"kind": "literal", "values": values}:
            return f"Literal[{', '.join(map(repr, values))}]"
        case {"name": str() as name}:
            return name.rpartition(":")[2]
        case {"kind": "table", "flavour": flavour}:
            return f"{flavour} table"
    return {"none": "None", "any": "Any", "file": "File", "directory": "Directory"}.get(doc["kind"], str(doc["kind"]))


_PLAIN_KINDS = {int: "int", float: "float", str: "str", bool: "bool", type(None): "none"}


def check(value: Any, doc: TypeDoc, where: str = "") -> list[Problem]:
    """What does not fit when `value` is given for `doc`; paths lead into the value. At most 20 problems."""
    if _PLAIN_KINDS.get(type(value)) == doc["kind"]:
        return []
    from celesta.typecheck import problems_of

    return problems_of(value, doc, where)


def accepts(wanted: TypeDoc, given: TypeDoc) -> str | None:
    """None when every value of `given` may be passed for `wanted`, else the reason. `any` fits both ways."""
    if wanted == given or "any" in (wanted["kind"], given["kind"]):
        return None
    if given["kind"] == "union":
        return next((reason for one in given["of"] if (reason := accepts(wanted, one))), None)
    if wanted["kind"] == "union":
        return None if any(accepts(one, given) is None for one in wanted["of"]) else _mismatch(wanted, given)
    if given["kind"] == "literal":
        return _accepts_literal(wanted, given)
    if wanted["kind"] == "float" and given["kind"] == "int":
        return None
    if wanted["kind"] != given["kind"]:
        return _mismatch(wanted, given)
    return None if all(accepts(w, g) is None for w, g in _parts(wanted, given)) else _mismatch(wanted, given)


def gathered(doc: TypeDoc, min_success_ratio: float | None = None) -> TypeDoc:
    """The type of what a map makes of outputs: a list, with None for items that may fail."""
    if (min_success_ratio or 1) < 1 and accepts(doc, {"kind": "none"}) is not None:
        doc = {"kind": "union", "of": [*(doc["of"] if doc["kind"] == "union" else [doc]), {"kind": "none"}]}
    return {"kind": "list", "items": doc}


def inside(wanted: TypeDoc, kind: str) -> TypeDoc | None:
    """The type of what is in a list (or dict) that is wanted; None when no such thing is wanted there."""
    if wanted["kind"] == "union":
        return next((found for one in wanted["of"] if (found := inside(one, kind)) is not None), None)
    if wanted["kind"] == "any":
        return ANY
    if wanted["kind"] != kind:
        return None
    inner: TypeDoc = wanted["items" if kind == "list" else "values"]
    return inner


def _accepts_literal(wanted: TypeDoc, given: TypeDoc) -> str | None:
    if wanted["kind"] == "literal":
        known = [(type(v), v) for v in wanted["values"]]
        return None if all((type(v), v) in known for v in given["values"]) else _mismatch(wanted, given)
    kinds: list[TypeDoc] = [{"kind": _SIMPLE[type(v)]} for v in given["values"]]
    return None if all(accepts(wanted, kind) is None for kind in kinds) else _mismatch(wanted, given)


def _parts(wanted: TypeDoc, given: TypeDoc) -> Iterator[tuple[TypeDoc, TypeDoc]]:
    """Pairs that must fit for two documents of one kind; a pair that never fits stands for "these differ"."""
    never: tuple[TypeDoc, TypeDoc] = ({"kind": "none"}, {"kind": "bool"})
    match wanted["kind"]:
        case "list" | "set":
            yield wanted["items"], given["items"]
        case "dict":
            yield wanted["keys"], given["keys"]
            yield wanted["values"], given["values"]
        case "tuple" if "rest" in wanted:
            yield from ((wanted["rest"], item) for item in [*given["items"], *filter(None, [given.get("rest")])])
        case "tuple":
            if "rest" in given or len(wanted["items"]) != len(given["items"]):
                yield never
            yield from zip(wanted["items"], given["items"], strict=False)
        case "enum" | "dataclass" | "pydantic" | "namedtuple":
            if wanted["name"] != given["name"]:
                yield never
        case "table":
            if wanted.get("flavour", given.get("flavour")) != given.get("flavour", wanted.get("flavour")):
                yield never
        case "literal":
            yield never


def _mismatch(wanted: TypeDoc, given: TypeDoc) -> str:
    return f"{spell(wanted)} is wanted, {spell(given)} is given"
