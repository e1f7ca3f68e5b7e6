"""What a stored value rests on: every blob below a reference, with its place in the value.

Called by whoever has to keep, move or find values without decoding them: garbage collection, exports, the search for a
file's maker. Loads what names other blobs (folders, long lists, large JSON values) and nothing else.
"""

import json
from collections.abc import Iterator
from typing import Any

from celesta.codecs.lists import items
from celesta.store.base import Store

Ref = dict[str, Any]
Place = tuple[str, str]


def blobs(ref: Ref, store: Store, place: str = "") -> Iterator[Place]:
    """Place and digest of each blob, the value's own first (place `""`).

    A file of a folder is at its path, an item of a list at `[3]`, a field at its name. Raises `StoreError` when a blob
    that has to be read is not there.
    """
    if "blob" in ref:
        yield place, ref["blob"]
    if ref["type"] == "directory":
        for path, entry in json.loads(store.get_blob(ref["blob"]))["files"].items():
            yield _below(place, path), entry["digest"]
    elif ref["type"] == "list":
        for index, item in enumerate(items(ref, store)):
            yield from blobs(item, store, f"{place}[{index}]")
    elif ref["type"] == "json" and ref.get("blob") != ref["digest"]:  # equal: no reference is inside
        tagged = ref["inline"] if "inline" in ref else json.loads(store.get_blob(ref["blob"]))
        yield from _nested(tagged, store, place)


def _nested(tagged: Any, store: Store, place: str) -> Iterator[Place]:
    """References inside a tagged value: a file in a dataclass, a table in a dict."""
    if isinstance(tagged, list):
        for index, part in enumerate(tagged):
            yield from _nested(part, store, f"{place}[{index}]")
    elif isinstance(tagged, dict):
        ((tag, body),) = tagged.items()
        if tag == "ref":
            yield from blobs(body, store, place)
        elif tag in ("t", "s"):
            yield from _nested(body, store, place)
        elif tag == "d":
            for key, part in body:
                yield from _nested(part, store, _below(place, key if isinstance(key, str) else json.dumps(key)))
        elif tag == "o":
            for name, part in body[1].items():
                yield from _nested(part, store, _below(place, name))


def _below(place: str, name: str) -> str:
    return f"{place}/{name}" if place else name
