"""The canonical tagged JSON of a value: one spelling for each value, and never the same for two.

Owns both directions between Python values and the tagged form of the contracts; the codecs of this package call it.
`1`, `1.0`, `True` and `"1"` stay apart, dicts and sets are sorted, and what is not JSON (a file, a table) is left to a
`leaf` function that stores it and answers with its reference. Refuses what has no canonical form, with the path into
the value: the exceptions collect it on their way out, so that a good value pays nothing for it.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable, Iterable
from typing import Any

from celesta.codecs import classes, moments
from celesta.errors import CodecError
from celesta.hashing import canonical

Doc = dict[str, Any] | None
Ref = dict[str, Any]
Store = Callable[[Any, Doc], Ref | None]  # leaf: the reference of what is kept apart, None for what is not
Load = Callable[[Ref, Doc], Any]


class Unstorable(Exception):
    """A value without a canonical form. Becomes a `CodecError` at the edge of this package."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.where = ""

    def inside(self, part: str) -> Unstorable:
        """The same, seen from the container that holds it under `part` (`[3]`, `.name`)."""
        self.where = part + self.where
        return self

    def as_error(self) -> CodecError:
        return CodecError(str(self), self.where.removeprefix("."))


# Python -> tagged


def tag(value: Any, doc: Doc, leaf: Store) -> Any:
    """The tagged form of a value of this type."""
    kind = type(value)
    if value is None or kind is str or kind is bool:
        return value
    if kind is int:
        return {"f": _as_float(value).hex()} if wants_float(doc) else value
    if kind is float:
        return {"f": value.hex()}
    ref = leaf(value, doc)
    if ref is not None:
        return {"ref": ref}
    write = _WRITERS.get(kind) or _writer_by_nature(value)
    return write(value, doc, leaf)


def wants_float(doc: Doc) -> bool:
    """Whether an int given here is meant as a float."""
    if doc is None:
        return False
    if doc["kind"] == "union":
        kinds = {member["kind"] for member in doc["of"]}
        return "float" in kinds and not kinds & {"int", "any"}
    return bool(doc["kind"] == "float")


def narrow(doc: Doc, *kinds: str) -> dict[str, Any]:
    """The type document itself, or its member of a union, that is of one of these kinds; else an empty one."""
    if doc is None:
        return {}
    members = doc["of"] if doc["kind"] == "union" else [doc]
    return next((member for member in members if member["kind"] in kinds), {})


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise Unstorable("an int too large for the float that is wanted here") from None


def _tag_list(value: Iterable[Any], doc: Doc, leaf: Store) -> list[Any]:
    items = narrow(doc, "list").get("items")
    return [_tag_part(item, items, leaf, index) for index, item in enumerate(value)]


def _tag_tuple(value: tuple[Any, ...], doc: Doc, leaf: Store) -> dict[str, Any]:
    docs = _tuple_docs(doc, len(value))
    return {"t": [_tag_part(item, each, leaf, n) for n, (item, each) in enumerate(zip(value, docs, strict=True))]}


def _tuple_docs(doc: Doc, length: int) -> list[Doc]:
    doc = narrow(doc, "tuple")
    items: list[Doc] = doc.get("items") or []
    return items if len(items) == length else [doc.get("rest")] * length


def _tag_dict(value: dict[Any, Any], doc: Doc, leaf: Store) -> dict[str, Any]:
    doc = narrow(doc, "dict")
    keys, values = doc.get("keys"), doc.get("values")
    pairs = [[_tag_part(key, keys, leaf, key), _tag_part(item, values, leaf, key)] for key, item in value.items()]
    return {"d": sorted_pairs(pairs)}


def sorted_pairs(pairs: list[list[Any]]) -> list[list[Any]]:
    """The pairs of a dict in their one order, that of the canonical JSON of the key. Raises `Unstorable`."""
    return sorted(pairs, key=lambda pair: spelling(pair[0]))


def spelling(tagged: Any) -> bytes:
    """The canonical JSON of a tagged value. Raises `Unstorable` where it has none: half a surrogate pair, or an int of
    thousands of digits."""
    try:
        return canonical(tagged)
    except (UnicodeEncodeError, ValueError) as error:
        raise Unstorable(f"this value has no JSON form: {error}") from None


def _tag_set(value: Iterable[Any], doc: Doc, leaf: Store) -> dict[str, Any]:
    doc = narrow(doc, "set")
    items = doc.get("items")
    return {
        set_tag(doc, frozen=isinstance(value, frozenset)): sorted(
            (_tag_part(item, items, leaf, item) for item in value), key=spelling
        )
    }


def set_tag(doc: dict[str, Any], *, frozen: bool = False) -> str:
    """Frozen or not as the type document wants it, as an int becomes a float; without one as the set is."""
    return "fs" if doc.get("frozen", frozen and not doc) else "s"


def _tag_object(value: Any, doc: Doc, leaf: Store) -> dict[str, Any]:
    doc = narrow(doc, *classes.KINDS)
    types = {field["name"]: field.get("type") for field in doc.get("fields", ())}
    fields = {}
    for name, item in classes.fields_of(value).items():
        try:
            fields[name] = tag(item, types.get(name), leaf)
        except Unstorable as refusal:
            raise refusal.inside(f".{name}") from None
    return {"o": [_class_name(value, doc), fields]}


def _tag_enum(value: Any, doc: Doc, leaf: Store) -> dict[str, Any]:
    if value.name not in type(value).__members__:
        raise Unstorable(f"{value!r} is a combination of flags, which has no name; store its value")
    return {"e": [_class_name(value, narrow(doc, "enum")), value.name]}


def _class_name(value: Any, doc: dict[str, Any]) -> str:
    """The class as "module:Class". The type document knows it better when the class was defined in `__main__`."""
    declared = doc.get("name", "")
    if declared.rpartition(":")[2] == type(value).__qualname__:
        return str(declared)
    try:
        return classes.name_of(type(value))
    except CodecError as error:
        raise Unstorable(str(error)) from None


def _tag_part(item: Any, doc: Doc, leaf: Store, place: Any) -> Any:
    try:
        return tag(item, doc, leaf)
    except Unstorable as refusal:
        raise refusal.inside(f"[{_shown(place)}]") from None


def _shown(place: Any) -> str:
    try:
        return f"{place!r:.60}"
    except ValueError:  # an int of more digits than Python spells
        return "…"


def _tag_scalar_subclass(kind: type) -> Callable[[Any, Doc, Store], Any]:
    return lambda value, doc, leaf: tag(kind(value), doc, leaf)


def _tag_moment(value: dt.datetime) -> dict[str, Any]:
    if value.tzinfo is None or value.tzinfo is dt.UTC:
        return {"dt": value.isoformat()}
    try:
        zone = moments.zone_of(value)
    except ValueError as error:
        raise Unstorable(str(error)) from None
    return {"dt": value.isoformat()} if zone is None else {"zdt": moments.spelled(value, zone)}


_WRITERS: dict[type, Callable[[Any, Doc, Store], Any]] = {
    list: _tag_list,
    tuple: _tag_tuple,
    dict: _tag_dict,
    set: _tag_set,
    frozenset: _tag_set,
    bytes: lambda value, doc, leaf: {"b": base64.b64encode(value).decode()},
    dt.datetime: lambda value, doc, leaf: _tag_moment(value),
    dt.date: lambda value, doc, leaf: {"date": value.isoformat()},
}


def _writer_by_nature(value: Any) -> Callable[[Any, Doc, Store], Any]:
    """For what is not exactly one of the plain types: classes of the user's, and subclasses of the plain types."""
    if classes.is_enum(value):
        return _tag_enum
    if classes.is_object(value):
        return _tag_object
    if classes.is_numpy_scalar(value):
        return lambda value, doc, leaf: tag(_plain_scalar(value), doc, leaf)
    for kind in (str, int, float, bytes):
        if isinstance(value, kind):
            return _tag_scalar_subclass(kind)
    for container in (dict, list, tuple, set, frozenset):
        if isinstance(value, container):
            return _WRITERS[container]
    raise Unstorable(classes.refusal(value))


def _plain_scalar(value: Any) -> Any:
    plain = value.item()
    if value.dtype.kind not in "biufUS" or type(plain) not in (bool, int, float, str, bytes):
        raise Unstorable(f"a numpy {type(value).__name__} cannot be stored; return an array, or a Python number")
    return plain


# Tagged -> Python


def untag(tagged: Any, doc: Doc, load: Load) -> Any:
    """The value of a tagged form. Imports the user's classes: only steps and the SDK call this."""
    kind = type(tagged)
    if kind is int:
        return float(tagged) if wants_float(doc) else tagged
    if tagged is None or kind is str or kind is bool:
        return tagged
    if kind is list:
        items = narrow(doc, "list").get("items")
        return [untag(item, items, load) for item in tagged]
    if kind is not dict or len(tagged) != 1:
        raise Unstorable(f"{tagged!r:.80} is not the tagged form of a value")
    ((name, body),) = tagged.items()
    read = _READERS.get(name)
    if read is None:
        raise Unstorable(f"{name!r} is not a tag of a value")
    return read(body, doc, load)


def _untag_tuple(body: list[Any], doc: Doc, load: Load) -> tuple[Any, ...]:
    docs = _tuple_docs(doc, len(body))
    return tuple(untag(item, each, load) for item, each in zip(body, docs, strict=True))


def _untag_dict(body: list[list[Any]], doc: Doc, load: Load) -> dict[Any, Any]:
    doc = narrow(doc, "dict")
    keys, values = doc.get("keys"), doc.get("values")
    return {_hashable(untag(key, keys, load)): untag(item, values, load) for key, item in body}


def _untag_set(frozen: bool) -> Callable[[list[Any], Doc, Load], Any]:
    def read(body: list[Any], doc: Doc, load: Load) -> set[Any] | frozenset[Any]:
        doc = narrow(doc, "set")
        items = doc.get("items")
        found = {_hashable(untag(item, items, load)) for item in body}
        return frozenset(found) if set_tag(doc, frozen=frozen) == "fs" else found

    return read


def _hashable(value: Any) -> Any:
    """What a key or an element of a set was: of sets only frozen ones can be. They had no tag of their own once."""
    if type(value) is tuple:
        return tuple(map(_hashable, value))
    return frozenset(value) if type(value) is set else value


def _untag_moment(body: str) -> dt.datetime:
    try:
        return moments.moment_of(body)
    except ValueError as error:
        raise Unstorable(str(error)) from None


def _untag_object(build: Callable[[str, dict[str, Any]], Any]) -> Callable[[list[Any], Doc, Load], Any]:
    def read(body: list[Any], doc: Doc, load: Load) -> Any:
        name, fields = body
        doc = narrow(doc, *classes.KINDS)
        types = {field["name"]: field.get("type") for field in doc.get("fields", ())}
        values = {field: untag(item, types.get(field), load) for field, item in fields.items()}
        # A document of before that mark was made tells of JSON only that it is an object: its class has to make it.
        unmarked = doc.get("name") == name and not doc.get("makes") and classes.has_makers(name)
        return (classes.make if unmarked else build)(name, values)

    return read


_READERS: dict[str, Callable[[Any, Doc, Load], Any]] = {
    "f": lambda body, doc, load: float.fromhex(body),
    "b": lambda body, doc, load: base64.b64decode(body, validate=True),
    "t": _untag_tuple,
    "d": _untag_dict,
    "s": _untag_set(frozen=False),
    "fs": _untag_set(frozen=True),
    "dt": lambda body, doc, load: dt.datetime.fromisoformat(body),
    "zdt": lambda body, doc, load: _untag_moment(body),
    "date": lambda body, doc, load: dt.date.fromisoformat(body),
    "e": lambda body, doc, load: classes.member(body[0], body[1]),
    "o": _untag_object(classes.build),
    "new": _untag_object(classes.make),
    "ref": lambda body, doc, load: load(body, doc),
}
