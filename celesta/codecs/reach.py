"""The blobs that references rest on: named in themselves, and at any depth below.

Called by the control plane (what a registration needs, what a step may read) and by executors that stage values.
Imports no user class and unpickles nothing; takes references to be well-formed (`celesta.codecs.verify`).
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from celesta.store.base import Store

Ref = Mapping[str, Any]


def blobs_of(ref: Ref) -> Iterator[str]:
    """The blobs that a reference names itself; what is named inside those blobs is not looked into."""
    if "blob" in ref:
        yield ref["blob"]
    for item in ref.get("items") or ():
        yield from blobs_of(item)
    if "inline" in ref:
        for inner in nested(ref["inline"]):
            yield from blobs_of(inner)


def blobs_within(refs: Iterable[Ref], store: Store) -> Iterator[str]:
    """All blobs that are needed to read these values. Reads those that name others: long lists, folders, values with
    references inside. Raises `StoreError`."""
    for ref in refs:
        if "blob" in ref:
            yield ref["blob"]
        if ref["type"] == "list":
            yield from blobs_within(ref["items"] if "items" in ref else _document(ref, store), store)
        elif ref["type"] == "directory":
            yield from (entry["digest"] for entry in _document(ref, store)["files"].values())
        elif "inline" in ref:
            yield from blobs_within(nested(ref["inline"]), store)
        elif ref["type"] == "json" and ref["blob"] != ref["digest"]:  # equal: no reference is inside
            yield from blobs_within(nested(_document(ref, store)), store)


def nested(tagged: Any) -> Iterator[Any]:
    """References inside a tagged value: files and tables in a dataclass, for example. Takes any JSON."""
    if isinstance(tagged, list):
        for part in tagged:
            yield from nested(part)
    elif isinstance(tagged, dict):
        for tag, body in tagged.items():
            if tag == "ref":
                yield body
            else:  # The fields of an object are names of the user's, one of which may be "ref".
                yield from nested(list(body[1].values()) if _is_object(tag, body) else body)


def _is_object(tag: str, body: Any) -> bool:
    return tag == "o" and isinstance(body, list) and len(body) == 2 and isinstance(body[1], dict)


def _document(ref: Ref, store: Store) -> Any:
    return json.loads(store.get_blob(ref["blob"]))
