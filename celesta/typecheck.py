"""Python values against type documents: the slow half of `celesta.types`, used where a value is at hand.

Called through `celesta.types.check` by tracing (constants in a workflow), by launching, and by a step for what its task
returned. It never converts and never imports a user's class: a class is known by the name that its document gives.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Iterator
from itertools import islice
from typing import Any

from celesta.errors import Problem
from celesta.types import TypeDoc, import_name, known_class, spell

_LIMIT = 20
_CONTAINERS: dict[str, Any] = {"list": list, "set": (set, frozenset), "tuple": tuple, "dict": dict}
_PLAIN: dict[str, Any] = {
    "none": type(None), "bool": bool, "int": int, "float": (float, int), "str": str, "bytes": (bytes, bytearray),
    "datetime": dt.datetime, "date": dt.date,
}  # fmt: skip
_BY_CLASS = ("file", "directory", "ndarray", "table")


def problems_of(value: Any, doc: TypeDoc, where: str) -> list[Problem]:
    return list(islice(_problems(value, doc, where), _LIMIT))


def _problems(value: Any, doc: TypeDoc, where: str) -> Iterator[Problem]:
    kind = doc["kind"]
    if kind in ("any", "pickle"):
        return
    if kind in _PLAIN:
        if not _is_plain(value, kind):
            yield _wrong(value, doc, where)
    elif kind == "union":
        if all(next(_problems(value, one, where), None) for one in doc["of"]):
            yield _wrong(value, doc, where)
    elif kind == "literal":
        if not any(type(v) is type(value) and v == value for v in doc["values"]):
            yield Problem(where, f"expected one of {', '.join(map(repr, doc['values']))}, got {_brief(value)}")
    elif kind in _BY_CLASS:
        if not _is_class(value, doc):
            yield _wrong(value, doc, where)
    elif kind in ("list", "set", "tuple", "dict"):
        yield from _in_container(value, doc, where)
    else:
        yield from _in_record(value, doc, where)


def _is_plain(value: Any, kind: str) -> bool:
    if type(value).__module__ == "numpy" and hasattr(value, "dtype") and getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, bool) and kind in ("int", "float"):
        return False
    if isinstance(value, enum.Enum) and not isinstance(value, str | int):
        return False
    if isinstance(value, dt.datetime) and kind == "date":
        return False
    return isinstance(value, _PLAIN[kind])


def _is_class(value: Any, doc: TypeDoc) -> bool:
    found = known_class(type(value))
    return found is not None and found["kind"] == doc["kind"] and doc.get("flavour") in (None, found.get("flavour"))


def _in_container(value: Any, doc: TypeDoc, where: str) -> Iterator[Problem]:
    kind = doc["kind"]
    if not isinstance(value, _CONTAINERS[kind]):
        yield _wrong(value, doc, where)
    elif kind == "dict":
        for key, item in value.items():
            yield from _problems(key, doc["keys"], f"{where} (key {key!r})")
            yield from _problems(item, doc["values"], f"{where}[{key!r}]")
    elif kind == "tuple" and "rest" not in doc:
        if len(value) != len(doc["items"]):
            yield Problem(where, f"expected {len(doc['items'])} items, got {len(value)}")
        for i, (item, one) in enumerate(zip(value, doc["items"], strict=False)):
            yield from _problems(item, one, f"{where}[{i}]")
    else:
        inner = doc["rest"] if kind == "tuple" else doc["items"]
        if inner["kind"] != "any":
            for i, item in enumerate(value):
                yield from _problems(item, inner, f"{where}[{i}]")


def _in_record(value: Any, doc: TypeDoc, where: str) -> Iterator[Problem]:
    if not any(import_name(base) == doc["name"] for base in type(value).__mro__):
        yield _wrong(value, doc, where)
    elif doc["kind"] in ("dataclass", "namedtuple"):
        for field in doc["fields"]:
            yield from _problems(getattr(value, field["name"], None), field["type"], f"{where}.{field['name']}")


def _wrong(value: Any, doc: TypeDoc, where: str) -> Problem:
    return Problem(where, f"expected {spell(doc)}, got {_brief(value)}")


def _brief(value: Any) -> str:
    text = repr(value) if value is None or isinstance(value, str | int | float | bytes) else ""
    return f"{text} ({type(value).__name__})" if 0 < len(text) <= 60 else f"a {type(value).__name__}"
