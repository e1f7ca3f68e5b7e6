"""A first look at how two values differ, from their references: numbers, shapes, sizes, and where they part.

Called by the control plane for diffs and reproductions. Nothing is decoded or unpickled: arrays and tables are told
apart by their shapes, files by their sizes, JSON values by the first place where they are not the same.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

from celesta.codecs.lists import items
from celesta.codecs.plain import preview, to_plain
from celesta.store.base import Store

Ref = dict[str, Any]
SHOWN_CHARACTERS = 60
DEEPEST = 8


def difference(before: Ref, after: Ref, store: Store | None = None) -> str:
    """One line; empty when the two are the same value. Without a store, what is in blobs is told by its size."""
    if (before["type"], before["digest"]) == (after["type"], after["digest"]):
        return ""
    return next(_differences(before, after, store, 0))


def _differences(before: Ref, after: Ref, store: Store | None, depth: int) -> Iterator[str]:
    """The first of these is the most telling one, and there is always one."""
    if before["type"] != after["type"]:
        yield f"a {before['type']} became a {after['type']}"
    elif depth < DEEPEST:
        yield from OF_TYPE[before["type"]](before, after, store, depth)
    yield from _sizes(before, after)


def _sizes(before: Ref, after: Ref) -> Iterator[str]:
    if before["size"] != after["size"]:
        yield f"{before['size']:,} bytes became {after['size']:,}"
    yield f"other content in the same {after['size']:,} bytes"


def _json(before: Ref, after: Ref, store: Store | None, depth: int) -> Iterator[str]:
    one, other = to_plain(before, store), to_plain(after, store)
    if not _is_description(one, before) and not _is_description(other, after):
        yield from _places(one, other, "")
        yield "values of other types that look the same"  # 1 and 1.0, a tuple and a list


def _is_description(plain: Any, ref: Ref) -> bool:
    """Whether the value was too large to be told, or no store had it."""
    return isinstance(plain, dict) and plain.get("digest") == ref["digest"] and plain.get("type") == ref["type"]


def _places(one: Any, other: Any, where: str) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for name in [*one, *(name for name in other if name not in one)]:
            yield from _member(one, other, name, f"{where}.{name}".lstrip("."))
    elif isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            yield f"{where + ': ' if where else ''}{_count(len(one), 'item')} became {len(other)}"
        for index, (mine, theirs) in enumerate(zip(one, other, strict=False)):
            yield from _places(mine, theirs, f"{where}[{index}]")
    elif one != other:
        yield f"{where + ': ' if where else ''}{_short(one)} became {_short(other)}"


def _member(one: dict[str, Any], other: dict[str, Any], name: str, where: str) -> Iterator[str]:
    if name not in other:
        yield f"{where} is gone"
    elif name not in one:
        yield f"{where} is new"
    else:
        yield from _places(one[name], other[name], where)


def _list(before: Ref, after: Ref, store: Store | None, depth: int) -> Iterator[str]:
    if before["length"] != after["length"]:
        yield f"{_count(before['length'], 'item')} became {after['length']:,}"
    if store is not None or ("items" in before and "items" in after):
        pairs = zip(items(before, store), items(after, store), strict=False)
        for index, (one, other) in enumerate(pairs):
            if one["digest"] != other["digest"]:
                yield f"[{index}]: {next(_differences(one, other, store, depth + 1))}"


def _file(before: Ref, after: Ref, store: Store | None, depth: int) -> Iterator[str]:
    if before.get("name") != after.get("name"):
        yield f"{before.get('name')} became {after.get('name')}"


def _array(before: Ref, after: Ref, store: Store | None, depth: int) -> Iterator[str]:
    if (before.get("dtype"), before.get("shape")) != (after.get("dtype"), after.get("shape")):
        yield f"{preview(before)} became {preview(after)}"
    yield f"{preview(after)} with other values"


def _table(before: Ref, after: Ref, store: Store | None, depth: int) -> Iterator[str]:
    names = [[str(name) for name, _ in ref["columns"]] for ref in (before, after)]
    gone, new = (", ".join(name for name in mine if name not in theirs) for mine, theirs in (names, names[::-1]))
    if gone or new:
        yield "; ".join([f"without {gone}"] * bool(gone) + [f"with {new}"] * bool(new))
    if before["rows"] != after["rows"]:
        yield f"{_count(before['rows'], 'row')} became {after['rows']:,}"
    yield f"{after['rows']:,} × {len(names[1])} with other values"


def _directory(before: Ref, after: Ref, store: Store | None, depth: int) -> Iterator[str]:
    if store is None:
        return
    one, other = (json.loads(store.get_blob(ref["blob"]))["files"] for ref in (before, after))
    changed = [path for path in one if path in other and one[path] != other[path]]
    counts = {"changed": changed, "gone": one.keys() - other.keys(), "new": other.keys() - one.keys()}
    first = changed or sorted(one.keys() ^ other.keys())
    if first:
        told = ", ".join(f"{len(paths)} {word}" for word, paths in counts.items() if paths)
        yield f"files: {told}; first {_short(min(first))}"


def _nothing(before: Ref, after: Ref, store: Store | None, depth: int) -> Iterator[str]:
    return iter(())


OF_TYPE: dict[str, Callable[[Ref, Ref, Store | None, int], Iterator[str]]] = {
    "json": _json,
    "list": _list,
    "file": _file,
    "directory": _directory,
    "ndarray": _array,
    "table": _table,
    "pickle": _nothing,
}


def _short(plain: Any) -> str:
    text = json.dumps(plain, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
