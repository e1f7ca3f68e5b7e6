"""References as JSON for people: what the API, the pages and the CLI show.

Called by the control plane and the client, so no user class is imported and nothing is unpickled. What is not JSON, or
too large to show, is described instead.
"""

import json
import math
from typing import Any, NamedTuple

from celesta.codecs import lists, moments
from celesta.errors import CodecError, StoreError
from celesta.store.base import Store

Ref = dict[str, Any]
PLAIN_BYTES = 1 << 20
PREVIEW_CHARACTERS = 200
_DAMAGED = KeyError, IndexError, AttributeError, TypeError, ValueError, OverflowError
_DESCRIBED = ("type", "digest", "size", "name", "media_type", "dtype", "shape", "flavour", "rows", "length")


class _How(NamedTuple):
    """Where a value is looked for, and how it is spelled."""

    store: Store | None = None
    limit_bytes: float = PLAIN_BYTES
    zones: bool = True
    """Whether moments have the name of their zone."""


def to_plain(ref: Ref, store: Store | None = None, limit_bytes: float = PLAIN_BYTES, *, zones: bool = True) -> Any:
    """The value as JSON. Described by type, digest and size: what is not JSON, what is larger than the limit (1 MiB),
    and, without a store, what is not in the reference itself.

    A moment in a zone with a name has it behind its ISO 8601, as `from_plain` takes it back. Without `zones` it is ISO
    8601 alone, with its offset: for programs that know no other form.
    """
    try:
        return _to_plain(ref, _How(store, limit_bytes, zones))
    except (*_DAMAGED, RecursionError) as error:
        raise CodecError(f"a damaged reference cannot be shown: {error!r}") from error


def shown(ref: Ref, store: Store | None = None) -> Any:
    """As `to_plain`, for documents of many values: one that is damaged, or is not in the store any more, is described,
    and hides no other."""
    try:
        return to_plain(ref, store)
    except CodecError:
        return _described(ref)
    except StoreError as error:
        if error.code != "missing_blob":
            raise
        return _described(ref)


def preview(ref: Ref) -> str:
    """One line about the value, at most 200 characters, from the reference alone. It never fails: a listing shows many
    values, and one that is nested deeply, or damaged, must not hide the others."""
    try:
        text = _preview(ref)
    except RecursionError:
        text = f"{ref.get('type')}, {_size(ref)}, nested deeply"
    except _DAMAGED:
        text = f"{ref.get('type')}, damaged"
    return text if len(text) <= PREVIEW_CHARACTERS else text[: PREVIEW_CHARACTERS - 1] + "…"


def _to_plain(ref: Ref, how: _How) -> Any:
    if "inline" in ref:
        return _plain(ref["inline"], how)
    if "items" in ref:
        return [_to_plain(item, how) for item in ref["items"]]
    if ref["type"] not in ("json", "list") or how.store is None or ref["size"] > how.limit_bytes:
        return _described(ref)
    if ref["type"] == "list":
        return [_to_plain(item, how) for item in lists.items(ref, how.store)]
    return _plain(json.loads(how.store.get_blob(ref["blob"])), how)


def _described(ref: Ref) -> dict[str, Any]:
    return {key: ref[key] for key in _DESCRIBED if key in ref}


def _plain(tagged: Any, how: _How) -> Any:
    if isinstance(tagged, list):
        return [_plain(item, how) for item in tagged]
    if not isinstance(tagged, dict):
        return tagged
    ((tag, body),) = tagged.items()
    if tag == "f":
        number = float.fromhex(body)
        return number if math.isfinite(number) else body
    if tag in ("t", "s", "fs"):
        return [_plain(item, how) for item in body]
    if tag == "d":
        return {_key(key, how): _plain(item, how) for key, item in body}
    if tag == "e":
        return body[1]
    if tag in ("o", "new"):
        return {name: _plain(item, how) for name, item in body[1].items()}
    if tag == "zdt" and not how.zones:
        return moments.split(body)[0].isoformat()
    return _to_plain(body, how) if tag == "ref" else body


def _key(tagged: Any, how: _How) -> str:
    plain = _plain(tagged, how)
    return plain if isinstance(plain, str) else json.dumps(plain)


def _preview(ref: Ref) -> str:
    kind = ref.get("type")
    if kind == "json":
        return _spell(_plain(ref["inline"], _How())) if "inline" in ref else f"JSON, {_size(ref)}"
    if kind == "list":
        shown = ", ".join(_preview(item) for item in ref.get("items", [])[:16])
        return f"[{shown}]" if "items" in ref else f"list of {ref['length']}, {_size(ref)}"
    if kind == "file":
        return f"{ref['name']}, {_size(ref)}"
    if kind == "ndarray":
        return f"{ref['dtype']} {' × '.join(map(str, ref['shape']))}".strip()
    if kind == "table":
        columns = ", ".join(str(name) for name, _ in ref["columns"])
        return f"{ref['flavour']} table, {ref['rows']} × {len(ref['columns'])}: {columns}"
    return f"{kind}, {_size(ref)}"


def _spell(plain: Any) -> str:
    return json.dumps(plain, ensure_ascii=False)


def _size(ref: Ref) -> str:
    size = float(ref["size"])
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
