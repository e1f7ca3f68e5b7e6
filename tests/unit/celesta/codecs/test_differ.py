"""A first look at how two values differ names the place, the shape or the size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from celesta.codecs import difference, encode
from celesta.files import Directory, File
from celesta.store import open_store


@pytest.fixture
def look(tmp_path: Path) -> Any:
    store = open_store(f"file://{tmp_path}/store")

    def look(before: object, after: object, kind: str = "any", after_kind: str = "") -> str:
        refs = [encode(before, {"kind": kind}, store), encode(after, {"kind": after_kind or kind}, store)]
        return difference(*refs, store)

    return look


def test_the_same_value_has_no_difference(look: Any) -> None:
    assert look({"a": [1, 2]}, {"a": [1, 2]}) == ""


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (0.97, 0.98, "0.97 became 0.98"),
        ({"lr": 0.1, "n": [1, 2]}, {"lr": 0.1, "n": [1, 3]}, "n[1]: 2 became 3"),
        ({"a": 1}, {"a": 1, "b": 2}, "b is new"),
        ({"a": 1, "b": 2}, {"a": 1}, "b is gone"),
        ({"n": [1, 2]}, {"n": [1]}, "n: 2 items became 1"),
        ([1, 2, 3], [1, 5, 3], "[1]: 2 became 5"),
        (list(range(40)), list(range(41)), "40 items became 41"),
        ([7], [7, 8], "1 item became 2"),
        (list(range(40)), [*range(39), 7], "[39]: 39 became 7"),
        (1, 1.0, "values of other types that look the same"),
        ("x" * 9_000, "x" * 8_999 + "y", 'became "xxx'),
        (1, [1], "a json became a list"),
    ],
    ids=str,
)
def test_json_values_are_told_apart_by_the_first_place(look: Any, before: Any, after: Any, told: str) -> None:
    assert told in look(before, after)


def test_what_is_too_large_or_in_no_store_is_told_by_its_size(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/store")
    one, other = (encode("x" * size, {"kind": "str"}, store) for size in (5_000, 5_001))
    assert difference(one, other) == "5,002 bytes became 5,003"


def test_arrays_are_told_apart_by_shape_then_values(look: Any) -> None:
    assert look(np.zeros((2, 3)), np.zeros((2, 4))) == "float64 2 × 3 became float64 2 × 4"
    assert look(np.zeros(3), np.ones(3)) == "float64 3 with other values"


def test_tables_are_told_apart_by_columns_rows_then_values(look: Any) -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
    assert look(frame, frame.rename(columns={"b": "c"})) == "without b; with c"
    assert look(frame, frame[:1]) == "2 rows became 1"
    assert look(frame, frame + 1) == "2 × 2 with other values"


def test_files_and_folders_are_told_apart_by_name_size_and_entries(look: Any, tmp_path: Path) -> None:
    for folder, texts in {"one": {"a": "1", "b": "2"}, "two": {"a": "1", "b": "3", "c": "4"}}.items():
        (tmp_path / folder).mkdir()
        for name, text in texts.items():
            (tmp_path / folder / name).write_text(text)
    assert look(File(tmp_path / "one/a"), File(tmp_path / "two/c")) == "a became c"
    assert look(File(tmp_path / "one/b"), File(tmp_path / "two/b")) == "other content in the same 1 bytes"
    assert look(Directory(tmp_path / "one"), Directory(tmp_path / "two")) == 'files: 1 changed, 1 new; first "b"'
