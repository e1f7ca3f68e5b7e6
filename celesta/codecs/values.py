"""Any Python value to a reference and back: the dispatch over the kinds of value.

Owns `encode` and `decode`, on the path of every step: a small JSON value costs microseconds and opens nothing. Called
by the runtime, the SDK and local runs. Only the codec that a value needs is imported, and with it its library.
Refuses what cannot be stored, naming the path into the value.
"""

import importlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from celesta.codecs import lists
from celesta.codecs.tagged import Doc, Ref, Unstorable, narrow, sorted_pairs, spelling, tag, untag
from celesta.errors import CodecError
from celesta.hashing import canonical, digest_of
from celesta.store.base import Store

INLINE_BYTES = 2048

_CODECS = {
    "file": "celesta.codecs.paths",
    "directory": "celesta.codecs.paths",
    "ndarray": "celesta.codecs.arrays",
    "table": "celesta.codecs.tables",
    "pickle": "celesta.codecs.pickles",
}
_PACKAGES = {"celesta": "file", "numpy": "ndarray", "pandas": "table", "polars": "table", "pyarrow": "table"}
_SCALARS = frozenset((int, str, float, bool, type(None)))
# Kinds whose tagged form is the value itself. They are most of what small steps pass on, and take the short way: the
# process of a step pays for each page of code that it is the first to run.
_AS_THEY_ARE = {int: "int", str: "str", bool: "bool", type(None): "none"}


def encode(value: Any, type_doc: Doc, store: Store) -> Ref:
    """Stores a value of this type; its reference. Values are expected to fit the type (`celesta.types.check`).

    Raises `CodecError` with the path into the value when it cannot be stored.
    """
    try:
        if type_doc and type_doc["kind"] == _AS_THEY_ARE.get(type(value)):
            return json_ref(value, store)
        return _encode(value, type_doc, store)
    except Unstorable as refusal:
        raise refusal.as_error() from None
    except RecursionError:
        raise CodecError("a value that holds itself, or is nested too deeply, cannot be stored") from None


def decode(ref: Ref, type_doc: Doc, store: Store, into: str | os.PathLike[str]) -> Any:
    """The value of a reference. Files are laid below the folder `into`, read-only, under names of their own.

    Imports the user's classes and unpickles: for steps and the SDK only.
    """
    try:
        if "inline" in ref and type_doc and type_doc["kind"] == _AS_THEY_ARE.get(type(ref["inline"])):
            return ref["inline"]
        return _decode(ref, type_doc, store, into)
    except Unstorable as refusal:
        raise refusal.as_error() from None
    except (KeyError, IndexError, AttributeError, RecursionError, ValueError, TypeError) as error:
        raise CodecError(f"the reference {preview_of_ref(ref)} cannot be read: {error!r}") from error


def none_ref() -> Ref:
    """The reference of None, as which what was skipped or did not succeed is passed on."""
    return json_ref(None, None)


def make_dict(refs: Mapping[str, Ref], store: Store) -> Ref:
    """The reference of a dict of values that are stored already, none of which is loaded.

    Small JSON values are taken in, so that such a dict has the digest it has when made in one piece. Raises
    `CodecError` for a key that cannot be stored.
    """
    pairs = [[key, _embedded(ref)] for key, ref in refs.items()]
    try:
        return json_ref({"d": sorted_pairs(pairs)}, store, has_refs=True)
    except Unstorable as refusal:
        raise refusal.as_error() from None


def json_ref(tagged: Any, store: Store | None, has_refs: bool = False) -> Ref:
    """The reference of a tagged value. References inside count by type and digest: where bytes lie is no part of it."""
    data = spelling(tagged)
    digest = digest_of(canonical(reduced(tagged)) if has_refs else data)
    if len(data) <= INLINE_BYTES:
        return {"type": "json", "digest": digest, "size": len(data), "inline": tagged}
    if store is None:
        raise Unstorable(f"a value of {len(data)} bytes needs a store")
    return {"type": "json", "digest": digest, "size": len(data), "blob": store.put_blob(data)}


def preview_of_ref(ref: Any) -> str:
    """The reference in an error message."""
    return f"{ref.get('type')} {str(ref.get('digest'))[:12]}" if isinstance(ref, dict) else f"{ref!r:.60}"


def _encode(value: Any, doc: Doc, store: Store) -> Ref:
    if type(value) in _SCALARS and not narrow(doc, "pickle"):
        return json_ref(tag(value, doc, _no_leaf), store)
    if isinstance(value, list) and not narrow(doc, "pickle"):
        return lists.make_list(_encode_items(value, narrow(doc, "list").get("items"), store), store)
    codec = _codec_of(value, doc)
    if codec is not None:
        return dict(codec(value, store))
    leaf = _Leaf(store)
    tagged = tag(value, doc, leaf)
    return json_ref(tagged, store, leaf.used)


def _encode_items(values: list[Any], doc: Doc, store: Store) -> list[Ref]:
    refs = []
    for index, value in enumerate(values):
        try:
            refs.append(_encode(value, doc, store))
        except Unstorable as refusal:
            raise refusal.inside(f"[{index}]") from None
    return refs


def _codec_of(value: Any, doc: Doc) -> Callable[[Any, Store], Ref] | None:
    """The `encode` of the codec for what is stored apart from JSON. None: the value is JSON, or nothing of ours."""
    if narrow(doc, "pickle"):
        kind: str | None = "pickle"
    else:
        packages = (cls.__module__.partition(".")[0] for cls in type(value).__mro__)
        kind = next((_PACKAGES[package] for package in packages if package in _PACKAGES), None)
    if kind is None:
        return None
    codec = _load_codec(kind)
    return codec.encode if codec.takes(value) else None


def _load_codec(kind: str) -> ModuleType:
    return importlib.import_module(_CODECS[kind])


class _Leaf:
    """Stores what inside a value is not JSON, and remembers whether there was any."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.used = False

    def __call__(self, value: Any, doc: Doc) -> Ref | None:
        codec = _codec_of(value, doc)
        if codec is None:
            return None
        self.used = True
        return codec(value, self.store)


def _no_leaf(value: Any, doc: Doc) -> Ref | None:
    return None


def _decode(ref: Ref, doc: Doc, store: Store, into: str | os.PathLike[str]) -> Any:
    kind = ref["type"]
    if kind == "json":
        tagged = ref["inline"] if "inline" in ref else json.loads(store.get_blob(ref["blob"]))
        return untag(tagged, doc, lambda inner, inner_doc: _decode(inner, inner_doc, store, into))
    if kind == "list":
        items = narrow(doc, "list").get("items")
        return [_decode(item, items, store, into) for item in lists.items(ref, store)]
    if kind not in _CODECS:
        raise Unstorable(f"{kind!r} is not a type of reference")
    return _load_codec(kind).decode(ref, store, Path(into))


def _embedded(ref: Ref) -> Any:
    """The tagged form of a stored value inside another: itself while it is at hand, else a reference to it."""
    if ref["type"] == "json" and "inline" in ref:
        return ref["inline"]
    if ref["type"] == "list" and "items" in ref:
        return [_embedded(item) for item in ref["items"]]
    return {"ref": ref}


def reduced(tagged: Any) -> Any:
    """The tagged form whose digest is the value's: of each reference inside, only its type and digest."""
    if isinstance(tagged, list):
        return [reduced(item) for item in tagged]
    if not isinstance(tagged, dict):
        return tagged
    if "ref" in tagged:
        return {"ref": [tagged["ref"]["type"], tagged["ref"]["digest"]]}
    if "o" in tagged or "new" in tagged:  # Its fields have names of the user's, one of which may be "ref".
        ((tag, (name, fields)),) = tagged.items()
        return {tag: [name, {field: reduced(item) for field, item in fields.items()}]}
    return {tag: reduced(body) for tag, body in tagged.items()}
