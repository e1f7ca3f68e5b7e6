from pathlib import Path
from typing import Any

import numpy as np
import pytest

from celesta.codecs import arrays, decode, encode
from celesta.errors import CodecError
from celesta.store.local import LocalStore

ARRAY = {"kind": "ndarray"}


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype="f4").reshape(3, 4),
        np.zeros((0, 3)),
        np.array(5),
        np.array([True, False]),
        np.array(["a", "bc"]),
        np.array([b"x"]),
        np.array(["2020-01-01"], "M8[ns]"),
        np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
        np.array([np.nan, np.inf, -0.0]),
        np.arange(6, dtype=">i2"),
        np.asfortranarray(np.eye(3)),
        np.array([1 + 2j]),
        np.empty(0, [("a", "i4")]),
        np.array([""]),
    ],
)
def test_an_array_comes_back_as_it_was(array: Any, store: LocalStore, tmp_path: Path) -> None:
    ref = encode(array, ARRAY, store)
    back = decode(ref, ARRAY, store, tmp_path / "in")
    np.testing.assert_array_equal(back, array)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert (ref["dtype"], ref["shape"]) == (str(array.dtype), list(array.shape))
    assert back.flags.writeable
    assert encode(back, ARRAY, store) == ref


def test_a_large_array_goes_through_files_and_leaves_none(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "_IN_MEMORY_BYTES", 1000)
    array = np.arange(1000.0)
    ref = encode(array, ARRAY, store)
    np.testing.assert_array_equal(decode(ref, ARRAY, store, tmp_path / "in"), array)
    assert list((tmp_path / "in").iterdir()) == []


@pytest.mark.parametrize(
    "array",
    [
        np.array([object()]),
        np.array([1, "a", None], object),
        np.ma.masked_array([1, 2], [0, 1]),
        np.array(["long"], np.dtypes.StringDType()),
    ],
)
def test_an_array_that_would_come_back_as_something_else_is_refused(array: Any, store: LocalStore) -> None:
    with pytest.raises(CodecError, match=r"^\['w'\]: an? .* cannot be stored"):
        encode({"w": array}, None, store)
    assert list(store.list("")) == []


def test_an_npy_with_pickled_objects_is_never_unpickled(store: LocalStore, tmp_path: Path) -> None:
    path = tmp_path / "evil.npy"
    np.save(path, np.array([print], object), allow_pickle=True)
    digest, size = store.put_blob_file(path)
    ref = {"type": "ndarray", "digest": digest, "size": size, "blob": digest, "dtype": "object", "shape": [1]}
    with pytest.raises(CodecError, match="allow_pickle=False"):
        decode(ref, ARRAY, store, tmp_path / "in")
