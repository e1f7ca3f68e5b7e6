"""The logical digest of a table: column names, types and values, whatever file or library version holds them.

Called by `celesta.codecs.tables`. Pure. Nulls and values are hashed apart, chunk boundaries and slices leave no trace,
and a dictionary (a category) counts by its values and by what it lists, in its order: that decides what is least, and
which code a value has. A change here is a change of cache keys: golden tests pin it.
"""

import hashlib
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from celesta.codecs.tagged import Unstorable

_ROWS = 1 << 16  # hashed at a time: bounds the memory, and never changes the digest


def table_digest(table: pa.Table, header: Any, *, categories: bool = True) -> str:
    """The digest of a table under a header that tells what the columns do not: library, dtypes, index.

    Without `categories` dictionaries count by their values only: for a library whose dtypes tell what they list.
    """
    seen = hashlib.sha256(b"table\n" + json.dumps([header, table.num_rows], sort_keys=True).encode())
    for name, column in zip(table.column_names, table.columns, strict=True):
        seen.update(f"\n{json.dumps(name)} {type_name(column.type)}\n".encode())
        try:
            seen.update(_column_digest(column, categories))
        except (pa.ArrowException, NotImplementedError) as error:
            raise Unstorable(f"column {name!r} of type {column.type} cannot be compared: {error}") from None
    return seen.hexdigest()


def _column_digest(column: pa.ChunkedArray, categories: bool) -> bytes:
    parts = _Parts(categories)
    for chunk in column.unify_dictionaries().chunks:
        for start in range(0, len(chunk), _ROWS):
            parts.add("", chunk.slice(start, _ROWS))
    return parts.digest()


class _Parts:
    """One hash per part of a column (validity, lengths, bytes, fields): slicing cannot shift one into another."""

    def __init__(self, categories: bool) -> None:
        self.hashes: dict[str, Any] = {}
        self.categories = categories

    def digest(self) -> bytes:
        whole = hashlib.sha256()
        for name in sorted(self.hashes):
            whole.update(name.encode() + self.hashes[name].digest())
        return whole.digest()

    def feed(self, part: str, data: Any) -> None:
        self.hashes.setdefault(part, hashlib.sha256()).update(data)

    def add(self, part: str, array: pa.Array) -> None:
        """Hashes a piece of a column, whose pieces may be cut anywhere."""
        kind = array.type
        if pa.types.is_dictionary(kind):
            self._add_categories(f"{part}.category", array.dictionary)
            return self.add(part, array.dictionary_decode())
        if isinstance(kind, pa.ExtensionType):
            return self.add(part, array.storage)
        self.feed(f"{part}.valid", _bits(array.is_valid()))
        if pa.types.is_null(kind):
            return None
        if pa.types.is_struct(kind):
            for index in range(kind.num_fields):
                self.add(f"{part}.{index}", pc.struct_field(array, index))
        elif pa.types.is_map(kind) or _is_list(kind):
            self._add_lists(part, array)
        elif _is_text(kind):
            self._add_text(part, array)
        else:
            self.feed(f"{part}.value", _fixed(array))
        return None

    def _add_categories(self, part: str, categories: pa.Array) -> None:
        """Once for a column, all chunks of which have the same ones by now."""
        if self.categories and f"{part}.valid" not in self.hashes:
            self.add(part, categories)

    def _add_lists(self, part: str, array: pa.Array) -> None:
        if pa.types.is_map(array.type):
            array = array.cast(pa.list_(pa.struct([("key", array.type.key_type), ("value", array.type.item_type)])))
        self.feed(f"{part}.length", _int64(pc.list_value_length(array)))
        self.add(f"{part}.item", pc.list_flatten(array))

    def _add_text(self, part: str, array: pa.Array) -> None:
        wide = pa.large_binary() if _is_binary(array.type) else pa.large_string()
        present = array.cast(wide).drop_null()
        offsets = np.frombuffer(present.buffers()[1] or b"", "<i8")[present.offset : present.offset + len(present) + 1]
        self.feed(f"{part}.length", np.diff(offsets).tobytes())
        if len(present):
            self.feed(f"{part}.value", memoryview(present.buffers()[2] or b"")[offsets[0] : offsets[-1]])


def _fixed(array: pa.Array) -> Any:
    """The bytes of a column of fixed width, with nulls as zeros."""
    kind = array.type
    if pa.types.is_boolean(kind):
        return _bits(array.fill_null(False))
    if pa.types.is_decimal(kind):
        return "\n".join(str(value) for value in array.to_pylist()).encode() + b"\n"
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        array = array.view(pa.int32() if kind.bit_width == 32 else pa.int64())
    if not pa.types.is_primitive(array.type):
        raise NotImplementedError("no rule for this type; convert the column to numbers, text or lists")
    zero = pa.scalar(0, pa.int8()).cast(array.type)
    values = array.fill_null(zero).to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).data


def _bits(array: pa.Array) -> bytes:
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.uint8).tobytes()


def _int64(array: pa.Array) -> bytes:
    return np.asarray(array.drop_null().to_numpy(zero_copy_only=False), dtype="<i8").tobytes()


def _is_list(kind: pa.DataType) -> bool:
    return any(check(kind) for check in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))


def _is_text(kind: pa.DataType) -> bool:
    return (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or _is_binary(kind)
    )


def _is_binary(kind: pa.DataType) -> bool:
    is_binary = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
    return any(check(kind) for check in is_binary)


def type_name(kind: pa.DataType) -> str:
    """The type's name, the same for all the ways in which libraries lay out text, lists and dictionaries."""
    if pa.types.is_dictionary(kind):
        return f"dictionary<{type_name(kind.value_type)}, ordered={kind.ordered}>"
    if _is_text(kind):
        return "binary" if _is_binary(kind) else "string"
    if pa.types.is_map(kind):
        return f"map<{type_name(kind.key_type)}, {type_name(kind.item_type)}>"
    if _is_list(kind):
        return f"list<{type_name(kind.value_type)}>"
    if pa.types.is_struct(kind):
        fields = ", ".join(f"{json.dumps(field.name)}: {type_name(field.type)}" for field in kind)
        return f"struct<{fields}>"
    return str(kind)


def marks(schema: pa.Schema) -> dict[str, Any]:
    """What a schema says beside names and types, and only where it does: it comes back from Parquet."""
    return _marks(schema.metadata, list(schema))


def _marks(metadata: Any, fields: list[pa.Field], nullable: bool = True) -> dict[str, Any]:
    inside = {n: _marks(field.metadata, _fields(field.type), field.nullable) for n, field in enumerate(fields)}
    found = {
        "metadata": _told(metadata or {}),
        "fields": {str(n): marked for n, marked in inside.items() if marked},
        "required": not nullable,
    }
    return {name: mark for name, mark in found.items() if mark}


def _fields(kind: pa.DataType) -> list[pa.Field]:
    if pa.types.is_map(kind):
        return [kind.item_field]  # A key is never null.
    if _is_list(kind):
        return [kind.value_field]
    return list(kind) if pa.types.is_struct(kind) else []


def _told(metadata: dict[bytes, bytes]) -> dict[str, Any]:
    """Metadata without what libraries say of their own versions and of the file that a table was read from."""
    told: dict[str, Any] = {key.decode("latin-1"): value.decode("latin-1") for key, value in metadata.items()}
    if "pandas" in told:
        told["pandas"] = {
            key: value for key, value in pandas_metadata(metadata).items() if key not in ("creator", "pandas_version")
        }
    return {key: value for key, value in told.items() if not key.startswith(("ARROW:", "PARQUET:"))}


def pandas_metadata(metadata: dict[bytes, bytes]) -> dict[str, Any]:
    """What pandas makes of a table when it is read again; empty where that is told in no form that is known."""
    try:
        told = json.loads(metadata[b"pandas"])
    except (KeyError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
