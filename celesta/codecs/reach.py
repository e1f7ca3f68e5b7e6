"""What values rest on: the one walk over a reference and all that it names, in itself and in the blobs below it.

Called by whoever has to keep, move, check or find values without decoding them: registrations, the gate of what a step
may read, the cache, garbage collection, exports, executors that stage values. Loads what names other blobs (folders,
long lists, large JSON values) and nothing else; imports no user class and unpickles nothing.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from celesta.codecs.lists import items
from celesta.errors import CodecError
from celesta.store.base import Store, is_digest

Ref = Mapping[str, Any]
Placed = tuple[str, Any]
MALFORMED = (CodecError, ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What the walk may come to over a reference or a listing that has no form, such as one that a step wrote by itself."""
_HOLDERS = {"blob", "inline", "items"}
_HOLDERS_OF = {"json": {"inline", "blob"}, "list": {"items", "blob"}}
"""Where a value can be, by the type of its reference; of the other types only in a blob."""


def is_ambiguous(ref: Ref) -> bool:
    """Whether a reference says more than once where its value is, or in a way that its type does not have. What is
    checked by the one could be read by the other: no codec makes such, and none is taken from outside."""
    held = _HOLDERS & ref.keys()
    return len(held) > 1 or not held <= _HOLDERS_OF.get(ref["type"], {"blob"})


def children(ref: Ref, store: Store | None = None, place: str = "") -> Iterator[Placed]:
    """The references directly inside a value, with their places: an item of a list at `[3]`, a file of a folder at its
    path, a field at its name. Without a store only those that the reference itself holds.

    Raises `StoreError` when a blob that has to be read is not there, and `CodecError` when it is not what it should be.
    """
    kind = ref["type"]
    if kind == "list" and ("items" in ref or store is not None):
        for index, item in enumerate(items(dict(ref), store)):
            yield f"{place}[{index}]", item
    elif kind == "json" and "inline" in ref:
        yield from nested(ref["inline"], place)
    elif store is not None and kind == "directory":
        for path, digest in _files(_document(ref, store), place):
            yield _below(place, path), {"type": "file", "digest": digest, "blob": digest}
    elif store is not None and kind == "json" and ref.get("blob") != ref.get("digest"):  # equal: no reference is inside
        yield from nested(_document(ref, store), place)


def blobs(ref: Ref, store: Store | None, place: str = "") -> Iterator[tuple[str, str]]:
    """Place and digest of each blob that a value rests on, at any depth; its own first, at the place of the value.

    Raises as `children` does, and `CodecError` where something stands for a reference that is none.
    """
    if not isinstance(ref, Mapping) or not isinstance(ref.get("type"), str):
        raise CodecError("is not a reference to a value", place)
    if "blob" in ref:
        yield place, ref["blob"]
    for below, inner in children(ref, store, place):
        yield from blobs(inner, store, below)


def blobs_of(ref: Ref) -> Iterator[str]:
    """The blobs that a reference names itself; what is named inside those blobs is not looked into."""
    return (digest for _, digest in blobs(ref, None))


def blobs_within(refs: Iterable[Ref], store: Store) -> Iterator[str]:
    """All blobs that are needed to read these values."""
    return (digest for ref in refs for _, digest in blobs(ref, store))


def values_of(document: Any) -> Iterator[Ref]:
    """Every reference that stands in a spec, a plan or whatever passes itself off as one: constants and defaults.

    A map from names to values is none, even if the names are those of the parts of a reference, and what has the form
    of a reference hides nothing but what such a value holds.
    """
    if isinstance(document, dict):
        is_ref = _is_ref(document)
        if is_ref:
            yield document
        for name, part in document.items():
            if not (is_ref and name in _HELD):
                yield from values_of(part)
    elif isinstance(document, list):
        for part in document:
            yield from values_of(part)


_HELD = ("inline", "items")
"""The value itself: what is in there, `blobs` knows how to read."""


def _is_ref(document: dict[str, Any]) -> bool:
    kind, digest, size = (document.get(name) for name in ("type", "digest", "size"))
    return isinstance(kind, str) and is_digest(digest) and isinstance(size, int)


def nested(tagged: Any, place: str = "") -> Iterator[Placed]:
    """References inside a tagged value, with their places: files and tables in a dataclass, for example. Takes any
    JSON, since it is asked before anybody knows whether that is a tagged value."""
    if isinstance(tagged, list):
        for index, part in enumerate(tagged):
            yield from nested(part, f"{place}[{index}]")
    elif isinstance(tagged, dict):
        for tag, body in tagged.items():
            if tag == "ref":
                yield place, body
            else:
                yield from _inside(tag, body, place)


def _inside(tag: str, body: Any, place: str) -> Iterator[Placed]:
    pairs = isinstance(body, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in body)
    if tag == "d" and pairs:
        for key, part in body:
            yield from nested(key, place)
            yield from nested(part, _below(place, key if isinstance(key, str) else json.dumps(key)))
    elif tag in ("o", "new") and isinstance(body, list) and len(body) == 2 and isinstance(body[1], dict):
        for name, part in body[1].items():  # Names of the user's, one of which may be "ref".
            yield from nested(part, _below(place, name))
    else:
        yield from nested(body, place)


def _below(place: str, name: str) -> str:
    return f"{place}/{name}" if place else name


def _document(ref: Ref, store: Store) -> Any:
    digest = _digest(ref, "blob", "")
    try:
        return json.loads(store.get_blob(digest))
    except ValueError:
        raise CodecError(f"blob {digest} is not JSON, as that of a {ref['type']} is") from None


def _files(listing: Any, place: str) -> Iterator[tuple[str, str]]:
    files = listing.get("files") if isinstance(listing, dict) else None
    if not isinstance(files, dict):
        raise CodecError("a folder without a list of its files", place)
    for path, entry in files.items():
        yield path, _digest(entry, "digest", _below(place, path))


def _digest(holder: Any, name: str, place: str) -> str:
    digest = holder.get(name) if isinstance(holder, Mapping) else None
    if not is_digest(digest):
        raise CodecError(f'wants a SHA-256 in hex as its "{name}"', place)
    return str(digest)
