import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from celesta.codecs import decode, encode, tables
from celesta.errors import CodecError
from celesta.store.local import LocalStore

TABLE = {"kind": "table"}


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def pandas_frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "i": [1, 2, 3],
            "f": [1.5, float("nan"), -0.0],
            "s": ["a", None, "ccc"],
            "b": [True, False, True],
            "t": pd.date_range("2020", periods=3, tz="Europe/Berlin"),
            "c": pd.Categorical(["x", "y", "x"]),
            "I": pd.array([1, None, 3], dtype="Int64"),
            "l": [[1], [2, 3], None],
            "d": pd.to_timedelta([1, 2, 3], unit="s"),
            "o": [Decimal("1.5")] * 3,
        }
    )


def polars_frame() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "i": pl.Series([1, None], dtype=pl.Int8),
            "s": ["a", None],
            "e": pl.Series(["x", "y"], dtype=pl.Enum(["x", "y"])),
            "d": [dt.date(2020, 1, 1), None],
            "l": [[1], []],
            "st": [{"a": 1}, {"a": 2}],
            "dec": pl.Series(["1.5", "2.5"]).cast(pl.Decimal(10, 2)),
            "t": [dt.datetime(2020, 1, 1, tzinfo=dt.UTC)] * 2,
            "bin": [b"x", b"y"],
            "time": [dt.time(1, 2)] * 2,
        }
    )


def arrow_table() -> pa.Table:
    return pa.table(
        {
            "a": pa.chunked_array([[1, 2], [3]]),
            "m": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int64())),
            "h": pa.array(np.array([1, 2, 3], np.float16)),
            "fsl": pa.array([[1, 2], [3, 4], None], pa.list_(pa.int64(), 2)),
            "n": pa.nulls(3),
            "dict": pa.array(["a", "b", "a"]).dictionary_encode(),
            "ls": pa.array([["ab", "c"], None, []], pa.large_list(pa.large_string())),
        }
    )


@pytest.mark.parametrize(
    "frame",
    [pandas_frame(), pandas_frame().set_index("s"), pandas_frame().iloc[::2], pd.DataFrame(), pd.DataFrame({0: [1]})],
)
def test_a_pandas_table_comes_back_as_it_was(frame: pd.DataFrame, store: LocalStore, tmp_path: Path) -> None:
    ref = encode(frame, TABLE, store)
    back = decode(ref, TABLE, store, tmp_path / "in")
    pd.testing.assert_frame_equal(back, frame)
    assert (ref["flavour"], ref["rows"], len(ref["columns"])) == ("pandas", len(frame), len(frame.columns))
    assert encode(back, TABLE, store)["digest"] == ref["digest"]
    assert list((tmp_path / "in").iterdir()) == []


def test_a_polars_table_comes_back_as_it_was(store: LocalStore, tmp_path: Path) -> None:
    frame = polars_frame()
    ref = encode(frame, TABLE, store)
    back = decode(ref, TABLE, store, tmp_path / "in")
    assert back.equals(frame)
    assert back.schema == frame.schema
    assert encode(back, TABLE, store)["digest"] == ref["digest"]


def test_an_arrow_table_comes_back_as_it_was(store: LocalStore, tmp_path: Path) -> None:
    table = arrow_table()
    ref = encode(table, TABLE, store)
    back = decode(ref, TABLE, store, tmp_path / "in")
    assert back.equals(table)
    assert encode(back, TABLE, store)["digest"] == ref["digest"]


def digest(table: Any, store: LocalStore) -> str:
    return str(encode(table, TABLE, store)["digest"])


def test_chunks_slices_and_layouts_leave_no_trace_in_the_digest(store: LocalStore) -> None:
    table = arrow_table()
    assert digest(table.combine_chunks(), store) == digest(table, store)
    assert digest(pa.concat_tables([table, table]).slice(3), store) == digest(table, store)
    wide = pa.table({"s": pa.array(["a", None], pa.large_string())})
    assert digest(wide, store) == digest(pa.table({"s": pa.array(["a", None], pa.string())}), store)


def test_what_lies_under_a_null_is_no_part_of_the_digest(store: LocalStore) -> None:
    def masked(hidden: int) -> pa.Table:
        return pa.table({"x": pa.array(np.array([1, hidden]), mask=np.array([False, True]))})

    assert digest(masked(7), store) == digest(masked(8), store)


def test_names_types_values_order_index_and_library_make_the_digest(store: LocalStore) -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    different: list[Any] = [
        frame,
        frame.rename(columns={"a": "c"}),
        frame[["b", "a"]],
        frame.iloc[::-1],
        frame.iloc[::-1].reset_index(drop=True),
        frame.set_index("a"),
        frame.set_axis([5, 6]),
        frame.astype({"a": "int32"}),
        frame.astype({"a": "float64"}),
        frame.astype({"b": "category"}),
        frame.assign(b=["xy", ""]),
        frame.assign(b=["x", None]),
        frame.head(1),
        frame.head(0),
        pd.DataFrame({0: [1, 2], 1: ["x", "y"]}),
        pd.DataFrame({"0": [1, 2], "1": ["x", "y"]}),
        pl.from_pandas(frame),
        pa.Table.from_pandas(frame),
    ]
    assert len({digest(table, store) for table in different}) == len(different)


def test_the_digest_is_not_that_of_the_file(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    table = arrow_table().select(["a", "dict"])
    before = encode(table, TABLE, store)
    write = tables.pq.write_table
    monkeypatch.setattr(tables.pq, "write_table", lambda table, path: write(table, path, compression="none"))
    after = encode(table, TABLE, store)
    assert after["blob"] != before["blob"]
    assert after["digest"] == before["digest"]


def test_golden_table_digest(store: LocalStore) -> None:
    table = pa.table({"i": [1, None, 3], "f": [0.5, 1.5, 2.5], "s": ["a", "", None], "l": [[1], [], None]})
    assert digest(table, store) == "e8d5eacb176a191ac653de2ef1145cad904d8cfe77eb192f4fa007e13efeb1c3"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame({"a": [1, "x"]}), "column a with type object"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "Duplicate column names"),
        (pd.DataFrame({0: [1], "a": [2]}), "names of more than one type"),
        (pd.DataFrame({"x": [object()]}), "column x with type object"),
        (pl.DataFrame({"o": [object()]}), "column 'o' of this polars table holds Python objects"),
        (pd.Series([1]), r"pandas Series cannot be stored; return \.to_frame\(\)"),
        (pl.Series([1]), r"polars Series cannot be stored; return \.to_frame\(\)"),
        (pl.LazyFrame({"a": [1]}), r"return \.collect\(\)"),
    ],
)
def test_a_table_that_cannot_be_stored_is_refused_with_the_reason(table: Any, message: str, store: LocalStore) -> None:
    with pytest.raises(CodecError, match=message):
        encode(table, None, store)
    assert list(store.list("")) == []
