"""Lists as references to their items: mapping, gathering and keying load no data.

Called by the engine (opening and gathering maps), the codecs and local runs. Standard library only.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from celesta.errors import CodecError, InputError
from celesta.hashing import canonical, list_digest
from celesta.store.base import Store

INLINE_ITEMS = 16


def make_list(refs: Iterable[dict[str, Any]], store: Store | None) -> dict[str, Any]:
    """The reference of a list of values that are stored already."""
    refs = list(refs)
    ref = {
        "type": "list",
        "digest": list_digest(refs),
        "size": sum(item["size"] for item in refs),
        "length": len(refs),
    }
    if len(refs) <= INLINE_ITEMS:
        return ref | {"items": refs}
    if store is None:
        raise CodecError(f"a list of {len(refs)} items needs a store")
    return ref | {"blob": store.put_blob(canonical(refs))}


def items(ref: dict[str, Any], store: Store | None) -> list[dict[str, Any]]:
    """The references of a list's items. Raises `CodecError` where a step has left no such list."""
    if ref["type"] != "list":
        raise CodecError(
            f"a value of type {ref['type']} is no list, and only lists can be mapped over: let the step that makes it "
            "return a list, or write unmapped(...) for what is the same for each item"
        )
    if "items" in ref:
        return list(ref["items"])
    if store is None:
        raise CodecError(f"the items of a list of {ref['length']} need a store")
    try:
        found = json.loads(store.get_blob(ref["blob"]))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(map(_is_ref, found)):
        raise CodecError(f"blob {ref['blob'][:12]} holds no list of references, though a step says so")
    return found


def one_length(path: str, lengths: Mapping[str, int]) -> int:
    """The width of a map over lists of these lengths. Raises `InputError` where they differ."""
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise InputError(
            f'the lists that "{path}" maps over differ in length: {told}; give lists of one length, or write '
            "unmapped(...) for what is the same for each item"
        )
    return next(iter(lengths.values()), 0)


def _is_ref(item: Any) -> bool:
    """As far as a list is made of it."""
    texts = isinstance(item, dict) and isinstance(item.get("type"), str) and isinstance(item.get("digest"), str)
    return texts and isinstance(item.get("size"), int)
