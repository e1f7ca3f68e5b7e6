"""pandas, polars and Arrow tables as Parquet.

Called by `celesta.codecs.values`. The digest is the logical one of `celesta.codecs.table_digest`: the bytes of a
Parquet file change with the version of the library, the value does not. Refuses what Parquet cannot hold, naming the
column, and what would come back as something else (a Series, a lazy frame).
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from celesta.codecs.table_digest import marks, pandas_metadata, table_digest, type_name
from celesta.codecs.tagged import Unstorable
from celesta.store.base import Store

_FLAVOURS = {("pandas", "DataFrame"): "pandas", ("polars", "DataFrame"): "polars", ("pyarrow", "Table"): "arrow"}
_USUAL_NAMES = {"object", "str", "int64"}
_ADVICE = {"Series": "return .to_frame()", "LazyFrame": "return .collect()", "RecordBatch": "return a pyarrow.Table"}


def takes(value: Any) -> bool:
    """Whether the value is a table. Its libraries' other collections are refused here, where the advice is known."""
    name = type(value).__name__
    if name in _ADVICE:
        raise Unstorable(f"a {_package(type(value))} {name} cannot be stored; {_ADVICE[name]}")
    return _flavour(value) != ""


def encode(value: Any, store: Store) -> dict[str, Any]:
    """Stores the table through a temporary file."""
    flavour = _flavour(value)
    table, layout = _TO_ARROW[flavour](value)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.parquet")
        _write(value, table, path)
        blob, size = store.put_blob_file(path)
    return {
        "type": "table",
        "digest": table_digest(table, [flavour, layout], categories=flavour != "polars"),
        "size": size,
        "blob": blob,
        "flavour": flavour,
        "rows": table.num_rows,
        "columns": layout["columns"],
    }


def decode(ref: dict[str, Any], store: Store, into: Path) -> Any:
    """The table, of the library that it was made with."""
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into) as folder:
        path = Path(folder, "table.parquet")
        store.fetch_blob(ref["blob"], path)
        return _READERS[ref["flavour"]](path)


def _package(cls: type) -> str:
    return cls.__module__.partition(".")[0]


def _flavour(value: Any) -> str:
    """pandas, polars, arrow, or nothing: a subclass (a GeoDataFrame) would come back as less than it was."""
    return _FLAVOURS.get((_package(type(value)), type(value).__name__), "")


def _from_pandas(frame: Any) -> tuple[pa.Table, dict[str, Any]]:
    if len({type(name) for name in frame.columns}) > 1:
        raise Unstorable("this pandas table has column names of more than one type; make them all strings")
    if frame.columns.dtype == "category":
        raise Unstorable("this pandas table has categories as column names; make them strings")
    try:
        table = pa.Table.from_pandas(frame)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise Unstorable(f"this pandas table cannot be stored as Parquet: {_said(error)}") from None
    index = frame.index
    kept = [index.start, index.stop, index.step] if type(index).__name__ == "RangeIndex" else str(index.dtype)
    return table, {
        "columns": [[str(name), str(dtype)] for name, dtype in frame.dtypes.items()],
        "names": [type(name).__name__ for name in frame.columns],
        "index": [kept, [_index_name(name) for name in index.names]],
        **_pandas_marks(frame, table),
    }


def _index_name(name: Any) -> Any:
    """The name as text; no name is "None", so that an index which is called that is told by another form."""
    return [name] if name == "None" else str(name)


def _pandas_marks(frame: Any, table: pa.Table) -> dict[str, Any]:
    """What else comes back of a pandas table, and only where there is any, so that the digests of others stay."""
    names = frame.columns
    dtypes = [str(level.dtype) for level in (names.levels if names.nlevels > 1 else [names])]
    found = {
        "names_of_columns": [name if name is None else str(name) for name in names.names],
        "dtypes_of_names": [] if set(dtypes) <= _USUAL_NAMES else dtypes,
        "attrs": pandas_metadata(table.schema.metadata).get("attributes"),
    }
    return {mark: told for mark, told in found.items() if told and set(told) != {None}}


def _from_polars(frame: Any) -> tuple[pa.Table, dict[str, Any]]:
    columns = [[name, str(dtype)] for name, dtype in frame.schema.items()]
    odd = [name for name, dtype in columns if "Object" in dtype]
    if odd:
        raise Unstorable(f"column {odd[0]!r} of this polars table holds Python objects; give it a type")
    try:
        return frame.to_arrow(), {"columns": columns}
    except pa.ArrowException as error:
        raise Unstorable(f"this polars table cannot be stored as Parquet: {_said(error)}") from None


def _from_arrow(table: pa.Table) -> tuple[pa.Table, dict[str, Any]]:
    if len(set(table.column_names)) < table.num_columns:
        raise Unstorable("this arrow table has columns of the same name; rename_columns() makes them different")
    return table, {"columns": [[field.name, type_name(field.type)] for field in table.schema], **marks(table.schema)}


def _write(value: Any, table: pa.Table, path: Path) -> None:
    try:
        if _flavour(value) == "polars":
            value.write_parquet(path)
        else:
            pq.write_table(table, path)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise Unstorable(f"this table cannot be stored as Parquet: {_said(error)}") from None


def _read_arrow(path: Path) -> pa.Table:
    with path.open("rb") as stream:  # Not a memory map: the file is gone when this returns.
        return pq.read_table(stream, memory_map=False)


def _read_polars(path: Path) -> Any:
    import polars

    return polars.read_parquet(path.read_bytes())


def _said(error: Exception) -> str:
    return " ".join(str(part) for part in error.args)


_TO_ARROW: dict[str, Callable[[Any], tuple[pa.Table, dict[str, Any]]]] = {
    "pandas": _from_pandas,
    "polars": _from_polars,
    "arrow": _from_arrow,
}
_READERS: dict[str, Callable[[Path], Any]] = {
    "pandas": lambda path: _read_arrow(path).to_pandas(),
    "polars": _read_polars,
    "arrow": _read_arrow,
}
