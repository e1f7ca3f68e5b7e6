"""Plain JSON from outside (REST, CLI flags) to references, by the type that is wanted.

Called by the control plane and the CLI, on documents alone: no user class is imported. The reference is the one that
`encode` makes of the same Python value, so that a run launched by REST finds what a run from Python cached; but for
classes whose code decides what they hold, which only a step can ask. Refuses what does not fit the type, with all
problems at once and the path to each.
"""

import base64
import binascii
import datetime as dt
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from celesta.codecs import lists, moments
from celesta.codecs.reach import nested
from celesta.codecs.tagged import Doc, Unstorable, set_tag, sorted_pairs, spelling
from celesta.codecs.tags import APART
from celesta.codecs.values import json_ref
from celesta.errors import InputError, Problem
from celesta.store.base import Store

_ANY = {"kind": "any"}
_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_LOOSE = {"str": 1, "float": 2, "any": 3}  # tried last in a union, in this order


@dataclass(frozen=True)
class Stored:
    """A part of a plain value that has no JSON form and is in the store already. Nothing from outside is one."""

    ref: dict[str, Any]


def from_plain(plain: Any, type_doc: Doc, store: Store | None = None, where: str = "") -> dict[str, Any]:
    """The reference of a plain JSON value of this type; `where` begins the path in problems (the input's name).

    Raises `InputError` with every problem. A store is needed for values over 2,048 bytes and lists over 16 items.
    """
    problems: list[Problem] = []
    try:
        ref = _ref(plain, type_doc or _ANY, where, store, problems)
    except RecursionError:
        problems = [Problem(where, "is nested too deeply")]
    if problems:
        raise InputError(problems=problems)
    return ref


class _Misfit(Exception):
    """A value that does not fit; ends the reading of one value, not of its neighbours."""


def _ref(plain: Any, doc: dict[str, Any], where: str, store: Store | None, problems: list[Problem]) -> dict[str, Any]:
    doc = _chosen(plain, doc)
    if isinstance(plain, Stored) and plain.ref["type"] == doc["kind"]:
        return plain.ref
    if isinstance(plain, list) and doc["kind"] in ("list", "any"):
        items = doc.get("items", _ANY)
        refs = [_ref(item, items, f"{where}[{n}]", store, problems) for n, item in enumerate(plain)]
        return {} if problems else lists.make_list(refs, store)
    tagged = _read(plain, doc, where, problems)
    if problems:
        return {}
    try:
        return json_ref(tagged, store, has_refs=next(nested(tagged), None) is not None)
    except Unstorable as refusal:
        problems.append(Problem(where, str(refusal)))
        return {}


def _read(plain: Any, doc: dict[str, Any], where: str, problems: list[Problem]) -> Any:
    """The tagged form; problems are appended, and then what is returned means nothing."""
    doc = _chosen(plain, doc)
    try:
        return _READERS[doc["kind"]](plain, doc, where, problems)
    except (_Misfit, Unstorable) as misfit:
        problems.append(Problem(where, str(misfit)))
        return None


def _chosen(plain: Any, doc: dict[str, Any]) -> dict[str, Any]:
    """The member of a union that the value fits (an int before a float), or the union itself when it fits none."""
    if doc["kind"] != "union":
        return doc
    members = sorted(doc["of"], key=lambda member: _LOOSE.get(member["kind"], 0))
    for member in members:
        found: list[Problem] = []
        _read(plain, member, "", found)
        if not found:
            return dict(_chosen(plain, member))
    return doc


def _below(where: str, name: str) -> str:
    """A path that can be shown, whatever the name: it is typed by people."""
    return f"{where}.{name}".encode("utf-8", "backslashreplace").decode()


def _expected(what: str, plain: Any) -> _Misfit:
    return _Misfit(f"expected {what}, got {_spell(plain)}")


def _spell(plain: Any) -> str:
    if isinstance(plain, dict | list):
        return "an object" if isinstance(plain, dict) else "a list"
    if isinstance(plain, Stored):
        return f"a {plain.ref['type']}"
    return "null" if plain is None else f"{str(plain).lower()}" if isinstance(plain, bool) else f"{plain!r:.80}"


def _any(plain: Any, doc: dict[str, Any], where: str, problems: list[Problem]) -> Any:
    if isinstance(plain, float):
        return {"f": plain.hex()}
    if isinstance(plain, list):
        return [_read(item, _ANY, f"{where}[{n}]", problems) for n, item in enumerate(plain)]
    if isinstance(plain, dict):
        return {
            "d": sorted_pairs([[key, _read(item, _ANY, _below(where, key), problems)] for key, item in plain.items()])
        }
    return plain


def _none(plain: Any, doc: dict[str, Any], where: str, problems: list[Problem]) -> Any:
    if plain is not None:
        raise _expected("null", plain)


def _bool(plain: Any, doc: dict[str, Any], where: str, problems: list[Problem]) -> Any:
    if not isinstance(plain, bool):
        raise _expected("true or false", plain)
    return plain


def _int(plain: Any, doc: dict[str, Any], where: str, problems: list[Problem]) -> Any:
    if not isinstance(plain, int) or isinstance(plain, bool):
        raise _expected("an integer", plain)
    return plain


def _float(plain: Any, doc: dict[str, Any], where: str, problems: list[Problem]) -> Any:
    if isinstance(plain, str) and plain in _WORDS:
        plain = _WORDS[plain]
    if not isinstance(plain, int | float) or isinstance(plain, bool):
        raise _expected("a number", plain)
    try:
        return {"f": float(plain).hex()}
    except OverflowError:
        raise _expected("a number within the range of a float", plain) from None


def _str(plain: Any, doc: dict[str, Any], where: str, problems: list[Problem]) -> Any:
    if not isinstance(plain, str):
        raise _expected("a string", plain)
    return plain


def _bytes(plain: Any, doc: dict[str, Any], where: str, problems: list[Problem]) -> Any:
    try:
        return {"b": base64.b64encode(base64.b64decode(plain, validate=True)).decode()}
    except (TypeError, ValueError, binascii.Error):
        raise _expected("bytes as base64", plain) from None


def _datetime(plain: Any, doc: dict[str, Any], where: str, problems: list[Problem]) -> Any:
    if not isinstance(plain, str) or not plain.endswith("]"):
        return _plain_moment(plain, doc, where, problems)
    try:
        moment = moments.moment_of(plain)
        zone = moments.zone_of(moment)
    except ValueError as error:
        raise _Misfit(str(error)) from None
    return {"dt": moment.isoformat()} if zone is None else {"zdt": moments.spelled(moment, zone)}


def _moment(tag: str, parse: Callable[[str], Any], what: str) -> Callable[..., Any]:
    def read(plain: Any, doc: dict[str, Any], where: str, problems: list[Problem]) -> Any:
        try:
            return {tag: parse(plain).isoformat()}
        except (TypeError, ValueError):
            raise _expected(what, plain) from None

    return read


_plain_moment = _moment("dt", dt.datetime.fromisoformat, "a date and time as ISO 8601")


def _list(plain: Any, doc: dict[str, Any], where: str, problems: list[Problem]) -> Any:
    if not isinstance(plain, list):
        raise _expected("a list", plain)
    return [_read(item, doc["items"], f"{where}[{n}]", problems) for n, item in enumerate(plain)]


def _set(plain: Any, doc: dict[str, Any], where: str, problems: list[Problem]) -> Any:
    items = _list(plain, doc, where, problems)
    return {set_tag(doc): [] if problems else sorted({spelling(item): item for item in items}.values(), key=spelling)}


def _tuple(plain: Any, doc: dict[str, Any], where: str, problems: list[Problem]) -> Any:
    rest = doc.get("rest")
    if not isinstance(plain, list) or (rest is None and len(plain) != len(doc["items"])):
        raise _expected("a list" if rest else f"a list of {len(doc['items'])}", plain)
    docs = [rest] * len(plain) if rest else doc["items"]
    return {
        "t": [
            _read(item, each, f"{where}[{n}]", problems) for n, (item, each) in enumerate(zip(plain, docs, strict=True))
        ]
    }


def _dict(plain: Any, doc: dict[str, Any], where: str, problems: list[Problem]) -> Any:
    if not isinstance(plain, dict):
        raise _expected("an object", plain)
    pairs = [
        [_dict_key(key, doc["keys"], where, problems), _read(item, doc["values"], _below(where, key), problems)]
        for key, item in plain.items()
    ]
    return {"d": [] if problems else sorted_pairs(pairs)}


def _dict_key(key: str, doc: dict[str, Any], where: str, problems: list[Problem]) -> Any:
    """A key of a JSON object is a string; where numbers are wanted it is read as one."""
    if doc["kind"] in ("int", "float"):
        try:
            return _read(int(key) if doc["kind"] == "int" else float(key), doc, where, problems)
        except ValueError:
            pass  # The problem is told by reading the string as what is wanted.
    return _read(key, doc, _below(where, key), problems)


def _literal(plain: Any, doc: dict[str, Any], where: str, problems: list[Problem]) -> Any:
    if not any(type(plain) is type(value) and plain == value for value in doc["values"]):
        raise _expected("one of " + ", ".join(_spell(value) for value in doc["values"]), plain)
    return plain


def _enum(plain: Any, doc: dict[str, Any], where: str, problems: list[Problem]) -> Any:
    members = doc["members"]
    if isinstance(plain, str) and plain in members:
        return {"e": [doc["name"], plain]}
    for name, value in members.items():
        if type(value) is type(plain) and value == plain:
            return {"e": [doc["name"], name]}
    raise _expected("one of " + ", ".join(members), plain)


def _object(plain: Any, doc: dict[str, Any], where: str, problems: list[Problem]) -> Any:
    if not isinstance(plain, dict):
        raise _expected(f"an object with the fields of {doc['name'].rpartition(':')[2]}", plain)
    known = {field["name"]: field for field in doc["fields"]}
    problems += [
        Problem(_below(where, name), "is not a field of " + doc["name"]) for name in plain if name not in known
    ]
    fields = {}
    for name, field in known.items():
        if name in plain:
            fields[name] = _read(plain[name], field["type"], _below(where, name), problems)
        elif field["required"]:
            problems.append(Problem(_below(where, name), "is missing"))
        elif "default" in field:
            fields[name] = _read(field["default"], field["type"], _below(where, name), problems)
    return {"new" if doc.get("makes") else "o": [doc["name"], fields]}


def _stored(plain: Any, doc: dict[str, Any], where: str, problems: list[Problem]) -> Any:
    if isinstance(plain, Stored) and plain.ref["type"] == doc["kind"]:
        return {"ref": plain.ref}
    raise _Misfit(f"a {doc['kind']} has no JSON form; upload it and give its reference in input_refs")


def _union(plain: Any, doc: dict[str, Any], where: str, problems: list[Problem]) -> Any:
    raise _expected(" or ".join(member["kind"] for member in doc["of"]), plain)


_READERS: dict[str, Callable[[Any, dict[str, Any], str, list[Problem]], Any]] = {
    "any": _any,
    "none": _none,
    "bool": _bool,
    "int": _int,
    "float": _float,
    "str": _str,
    "bytes": _bytes,
    "datetime": _datetime,
    "date": _moment("date", dt.date.fromisoformat, "a date as YYYY-MM-DD"),
    "list": _list,
    "set": _set,
    "tuple": _tuple,
    "dict": _dict,
    "literal": _literal,
    "enum": _enum,
    "dataclass": _object,
    "pydantic": _object,
    "namedtuple": _object,
    "union": _union,
} | dict.fromkeys(APART, _stored)
