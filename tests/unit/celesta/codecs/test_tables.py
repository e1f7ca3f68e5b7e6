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


LO_HI = pd.DataFrame({"a": ["lo", "hi"], "n": [1, 2]})
NUMBERS = pd.DataFrame({"n": [1, 2], "f": [0.5, 1.5]})
ARROW = pa.table({"a": ["lo", "hi"], "n": [1, 2]})


def pandas_variants() -> list[pd.DataFrame]:
    """What differs in these is not in the values of any column, and comes back from Parquet."""
    orders: list[list[str]] = [["lo", "hi"], ["hi", "lo"], ["lo", "hi", "more"]]
    categories = [pd.Categorical(["lo", "hi"], categories=one, ordered=o) for one in orders for o in (True, False)]
    named, unnamed = LO_HI.rename_axis(columns="k"), LO_HI.rename_axis(index="None")
    marked = LO_HI.copy()
    marked.attrs = {"unit": "kg"}
    pairs = pd.MultiIndex.from_tuples([("a", "x"), ("n", "y")])
    return [
        LO_HI, named, unnamed, marked, LO_HI.rename_axis(index="k"),
        *(LO_HI.assign(a=one) for one in categories),
        *(LO_HI.set_axis(pd.CategoricalIndex(one)) for one in categories),
        *(LO_HI.set_axis(pd.MultiIndex.from_arrays([[1, 2], one])) for one in categories[:4]),
        LO_HI.set_axis(pairs, axis=1), LO_HI.set_axis(pairs.set_names(["p", "q"]), axis=1),
        *(LO_HI.set_axis(pd.Index([0, 1], dtype=dtype), axis=1) for dtype in ("i8", "i4", "f8", "f4")),
        *(LO_HI.set_axis(pd.to_datetime(["2020", "2021"]).as_unit(unit), axis=1) for unit in ("us", "ns")),
        LO_HI.assign(a=pd.to_datetime(["2020", "2021"])), LO_HI.assign(a=pd.to_datetime(["2020", "2021"], utc=True)),
        LO_HI.astype({"a": "string[pyarrow]"}), LO_HI.astype({"n": "Int64"}), LO_HI.astype({"n": "int64[pyarrow]"}),
    ]  # fmt: skip


def polars_variants() -> list[pl.DataFrame]:
    frame = pl.DataFrame({"a": ["lo", "hi"], "n": [1, 2]})
    enums = [pl.Enum(["lo", "hi"]), pl.Enum(["hi", "lo"]), pl.Enum(["lo", "hi", "more"])]
    return [frame, *(frame.with_columns(a=pl.Series(["lo", "hi"], dtype=one)) for one in (pl.Categorical, *enums))]


def arrow_variants() -> list[pa.Table]:
    def dictionary(listed: list[str], ordered: bool) -> pa.Array:
        codes = pa.array([listed.index(one) for one in ("lo", "hi")])
        return pa.DictionaryArray.from_arrays(codes, pa.array(listed), ordered=ordered)

    orders = [["lo", "hi"], ["hi", "lo"], ["lo", "hi", "more"]]
    coded = [dictionary(one, ordered) for one in orders for ordered in (True, False)]
    wrapped = [pa.ListArray.from_arrays([0, 1, 2], one) for one in coded]
    text, number = pa.string(), pa.int64()
    strict = pa.field("x", number, nullable=False)
    return [
        ARROW,
        *(ARROW.set_column(0, "a", one) for one in (*coded, *wrapped)),
        ARROW.replace_schema_metadata({"unit": "kg"}), ARROW.replace_schema_metadata({"pandas": "no JSON"}),
        ARROW.cast(pa.schema([pa.field("a", text, metadata={"unit": "kg"}), ("n", number)])),
        ARROW.cast(pa.schema([pa.field("a", text, nullable=False), ("n", number)])),
        ARROW.set_column(1, "n", pa.array([{"x": 1}, {"x": 2}])),
        ARROW.set_column(1, "n", pa.array([{"x": 1}, {"x": 2}], pa.struct([strict]))),
        pa.Table.from_pandas(LO_HI), pa.Table.from_pandas(LO_HI.rename_axis(columns="k")),
    ]  # fmt: skip


def facts(table: Any) -> str:
    """All that a step can see of a table, short of how its library keeps it in memory."""
    if isinstance(table, pd.DataFrame):
        axes = [[repr(axis.names), [repr(one) for one in getattr(axis, "levels", [axis])]] for axis in table.axes]
        listed = [repr(getattr(dtype, "categories", None)) for dtype in table.dtypes]
        return repr([axes, [repr(dtype) for dtype in table.dtypes], listed, table.attrs])
    if isinstance(table, pl.DataFrame):
        return repr(table.schema)
    schema = table.schema.to_string(truncate_metadata=False)
    flat = [column.chunk(0).flatten() if "list" in str(column.type) else column.chunk(0) for column in table.columns]
    return schema + repr([one.dictionary.to_pylist() for one in flat if pa.types.is_dictionary(one.type)])


@pytest.mark.parametrize("variants", [pandas_variants, polars_variants, arrow_variants])
def test_what_comes_back_differently_has_another_digest(variants: Any, store: LocalStore, tmp_path: Path) -> None:
    refs = [encode(table, TABLE, store) for table in variants()]
    back = [facts(decode(ref, TABLE, store, tmp_path / "in")) for ref in refs]
    assert len(set(back)) == len(back), "two variants are one value: the test says nothing of them"
    assert len({ref["digest"] for ref in refs}) == len(refs)


def test_chunks_with_categories_of_their_own_count_as_one_column(store: LocalStore) -> None:
    chunks = [pa.array(["a", "b"]).dictionary_encode(), pa.array(["b", "c"]).dictionary_encode()]
    cut = pa.table({"x": pa.chunked_array(chunks)})
    assert digest(cut, store) == digest(cut.combine_chunks(), store) == digest(cut.unify_dictionaries(), store)


def test_the_versions_of_libraries_in_metadata_are_no_part_of_the_digest(store: LocalStore) -> None:
    table = pa.Table.from_pandas(LO_HI)
    other = table.schema.metadata[b"pandas"].replace(pa.__version__.encode(), b"1.0")
    older = table.replace_schema_metadata({"pandas": other, "PARQUET:origin": "elsewhere"})
    assert digest(older, store) == digest(table, store)


@pytest.mark.parametrize(
    ("table", "pinned"),
    [
        (NUMBERS, "30eb74a66fb239a4063da4647ae101f44938f9bd8c8d4929710d3d5fc567ce19"),
        (NUMBERS.set_index("n"), "ba96734785c2a8e0467df372dd2ad82cfb1503dd75b1f0081ba7689a9ae42c3a"),
        (NUMBERS.set_axis([5, 6]), "20f77e7d36393e752714bc76e7800b14083e55773d2119a16fdb06b32e83fc47"),
    ],
)
def test_golden_digests_of_frames_without_anything_beside_their_values(
    table: Any, pinned: str, store: LocalStore
) -> None:
    assert digest(table, store) == pinned


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
        (LO_HI.set_axis(pd.CategoricalIndex(["a", "n"]), axis=1), "categories as column names; make them strings"),
        (pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), "columns of the same name; rename_columns"),
        (pl.DataFrame({"n": pl.Series([1], dtype=pl.Int128)}), "this polars table cannot be stored as Parquet"),
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
