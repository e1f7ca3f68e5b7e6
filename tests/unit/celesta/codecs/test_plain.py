import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from celesta.codecs import encode, preview, to_plain
from celesta.errors import CodecError
from celesta.files import File
from celesta.store.local import LocalStore
from tests.unit.celesta.codecs.samples import Colour, Point


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (1, 1),
        (1.5, 1.5),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
        (None, None),
        (b"x", "eA=="),
        ((1, 2.0), [1, 2.0]),
        ({1: "a", (1, 2): "b"}, {"1": "a", "[1, 2]": "b"}),
        ({2, 1}, [1, 2]),
        (dt.date(2024, 1, 2), "2024-01-02"),
        (Colour.RED, "RED"),
        (Point(1.0, 2.0), {"x": 1.0, "y": 2.0}),
        ([1, [2]], [1, [2]]),
        ([Point(0.0)], [{"x": 0.0, "y": 0.0}]),
    ],
)
def test_a_value_is_shown_as_json(value: Any, plain: Any, store: LocalStore) -> None:
    assert to_plain(encode(value, None, store)) == plain


def test_a_large_value_is_loaded_when_there_is_a_store_and_described_when_not(store: LocalStore) -> None:
    text, many = encode("x" * 5000, None, store), encode(list(range(100)), None, store)
    assert to_plain(text, store) == "x" * 5000
    assert to_plain(many, store) == list(range(100))
    assert to_plain(text) == {"type": "json", "digest": text["digest"], "size": 5002}
    assert to_plain(many) == {"type": "list", "digest": many["digest"], "size": 190, "length": 100}


def test_a_value_over_a_megabyte_is_described(store: LocalStore) -> None:
    assert to_plain(encode("x" * (1 << 20), None, store), store)["type"] == "json"


def test_what_is_not_json_is_described_also_inside_a_value(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(b"model")
    plain = to_plain(encode({"model": File(tmp_path / "m.bin"), "w": np.zeros((2, 3))}, None, store), store)
    assert (plain["model"]["type"], plain["model"]["size"], plain["model"]["name"]) == ("file", 5, "m.bin")
    assert (plain["w"]["dtype"], plain["w"]["shape"]) == ("float64", [2, 3])
    assert "blob" not in plain["model"]


def test_showing_a_value_imports_no_class_of_the_users() -> None:
    ref = {
        "type": "json",
        "digest": "0" * 64,
        "size": 9,
        "inline": {"o": ["no_such_module:X", {"a": {"e": ["no:C", "RED"]}}]},
    }
    assert to_plain(ref) == {"a": "RED"}


@pytest.mark.parametrize("inline", [{"f": 1}, {"f": "1", "b": "2"}, {"d": [1]}, {"ref": {}}])
def test_a_damaged_reference_is_an_error(inline: Any) -> None:
    with pytest.raises(CodecError, match="damaged"):
        to_plain({"type": "json", "digest": "0" * 64, "size": 1, "inline": inline})


@pytest.mark.parametrize("kind", ["list", "json"])
def test_a_preview_of_a_value_that_is_nested_too_deeply_describes_it(kind: str) -> None:
    head = {"type": kind, "digest": "d" * 64, "size": 1234}
    ref, inline = {**head, "items": []}, {"d": []}
    for _ in range(2000):
        ref = {**head, "items": [ref]}
        inline = {"d": [["x", inline]]}
    deep = ref if kind == "list" else {**head, "inline": inline}
    assert preview(deep) == f"{kind}, 1.23 kB, nested deeply"


@pytest.mark.parametrize("kind", ["table", "ndarray", "file", "list"])
def test_a_preview_of_a_damaged_reference_says_so(kind: str) -> None:
    assert preview({"type": kind, "digest": "0" * 64, "size": 3, "blob": "0" * 64}) == f"{kind}, damaged"


def test_a_preview_is_one_short_line_from_the_reference_alone(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(b"x" * 12345)
    shown = {
        '{"a": 1.5}': {"a": 1.5},
        '[1, "x"]': [1, "x"],
        "list of 100, 190 B": list(range(100)),
        "JSON, 5 kB": "x" * 5000,
        "m.bin, 12.3 kB": File(tmp_path / "m.bin"),
        "float64 2 × 3": np.zeros((2, 3)),
    }
    assert {preview(encode(value, None, store)): value for value in shown.values()}.keys() == shown.keys()
    assert len(preview(encode("x" * 1000, None, store))) == 200
