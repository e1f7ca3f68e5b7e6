"""References from outside: those that `encode` makes are believed, and no other."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from celesta.codecs import encode, make_list, verify
from celesta.files import Directory, File
from celesta.spec.shapes import ref_problems
from celesta.store.base import blob_key
from celesta.store.local import LocalStore
from tests.unit.celesta.codecs.samples import Point, Trained

module = import_module("celesta.codecs.verify")

ANY = {"kind": "any"}


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def file(tmp_path: Path) -> File:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.bin").write_bytes(b"weights")
    return File(tmp_path / "folder" / "model.bin")


def told(ref: Any, store: LocalStore) -> str:
    return "\n".join(map(str, verify(ref, store, "x")))


def test_what_encode_makes_is_believed(store: LocalStore, file: File) -> None:
    folder = Directory(file.path.parent)
    values = [
        None, 1, 1.5, "é", [1, [2.0]], list(range(100)), {"a": (1, {2})}, "x" * 5000, Point(1.0), file, folder,
        Trained(file, 0.5), [Trained(file, 0.5)] * 20, {"t": file, "pad": "x" * 5000}, np.arange(3),
        pd.DataFrame({"a": [1]}),
    ]  # fmt: skip
    for value in values:
        ref = json.loads(json.dumps(encode(value, ANY, store)))
        assert verify(ref, store) == [], value


def test_a_digest_that_is_not_that_of_the_value_is_refused_at_any_depth(store: LocalStore, file: File) -> None:
    false = "0" * 64
    one, stored = encode(1, ANY, store), encode(file, ANY, store)
    nested = encode(Trained(file, 0.5), ANY, store)
    long = make_list([encode(n, ANY, store) for n in range(20)], store)
    forged_long = make_list([{**one, "digest": false}] * 20, store)
    inner = json.loads(json.dumps(nested))
    inner["inline"]["o"][1]["model"]["ref"]["digest"] = false
    big = encode({"file": file, "pad": "x" * 5000}, ANY, store)
    for ref, message in [
        ({**one, "digest": false}, "x: the digest is not that of the value"),
        ({**nested, "digest": false}, "x: the digest is not that of the value"),
        (inner, "x: the digest of a file value is that of its blob"),
        ({**big, "digest": false}, "x: the digest is not that of the value"),
        ({**stored, "digest": false}, "x: the digest of a file value is that of its blob"),
        ({**make_list([one], store), "digest": false}, "x: length and digest are not those of the items"),
        ({**make_list([one], store), "length": 2}, "x: length and digest are not those of the items"),
        (make_list([{**one, "digest": false}], store), "x[0]: the digest is not that of the value"),
        ({**long, "digest": false}, "x: length and digest are not those of the items"),
        (forged_long, "x[0]: the digest is not that of the value"),
    ]:
        assert message in told(ref, store), ref


def test_blobs_have_to_be_there_also_those_inside_others(store: LocalStore, file: File) -> None:
    folder = encode(Directory(file.path.parent), ANY, store)
    stored = encode(file, ANY, store)
    nested = encode([Trained(file, 0.5)], ANY, store)
    array = encode(np.arange(3), ANY, store)
    assert verify(array, store) == []
    for digest in (stored["blob"], array["blob"]):
        store.delete(f"blobs/sha256/{digest[:2]}/{digest}")
    for ref in (stored, folder, nested, array):
        assert "is not in the store; put it first" in told(ref, store), ref["type"]
    assert "x['model.bin']" in told(folder, store)
    assert verify(stored, store, present={stored["blob"]}) == []


@pytest.mark.parametrize(
    "ref",
    [
        3, None, [], {}, {"type": "spell"}, {"type": []}, {"type": "json", "digest": 3, "size": 1},
        {"type": "json", "digest": "0" * 64, "size": True, "inline": 1},
        {"type": "json", "digest": "0" * 64, "size": 1}, {"type": "list", "digest": "0" * 64, "size": 1, "blob": 5},
        {"type": "file", "digest": "0" * 64, "size": 1, "blob": "../../etc/passwd"},
        {"type": "json", "digest": "0" * 64, "size": 1, "inline": {"ref": 5}},
        {"type": "json", "digest": "0" * 64, "size": 1, "inline": "\ud800"},
        {"type": "list", "digest": "0" * 64, "size": 1, "items": [None], "length": 1},
    ],
)  # fmt: skip
def test_nothing_is_taken_for_granted(store: LocalStore, ref: Any) -> None:
    assert verify(ref, store, "x")


def test_a_value_is_in_its_reference_or_in_a_blob_and_not_in_both(store: LocalStore, file: File) -> None:
    """What is checked by the one would be read by the other."""
    one, few = encode("x", ANY, store), encode([1], ANY, store)
    stored, folder = encode(file, ANY, store), encode(Directory(file.path.parent), ANY, store)
    blob = stored["blob"]
    for ref in (
        {**one, "blob": blob}, {**few, "blob": blob}, {**one, "items": []}, {**few, "inline": 1},
        {**stored, "inline": "x"}, {**folder, "inline": []}, {**folder, "items": []},
        {**encode(np.arange(3), ANY, store), "inline": "x"},
    ):  # fmt: skip
        assert "never in both" in told(ref, store), ref
        assert [*ref_problems(ref, ANY, "x")], "nor does a spec or a result take it"
        assert "x[0]: a value is in a blob or" in told(make_list([ref], store), store)


def test_blobs_that_are_not_what_a_reference_needs_are_told(store: LocalStore) -> None:
    text = store.put_blob(b"no json")
    numbers = store.put_blob(b"[1, 2]")
    ref = {"digest": "0" * 64, "size": 1}
    assert "is not JSON" in told({**ref, "type": "list", "blob": text}, store)
    assert "is no value reference" in told({**ref, "type": "list", "blob": numbers}, store)
    listing = {"type": "directory", "size": 1, "digest": numbers, "blob": numbers}
    assert "the list of its files" in told(listing, store)
    odd = store.put_blob(b'{"files": {}, "folders": [7]}')
    assert "a list of names" in told({"type": "directory", "size": 0, "digest": odd, "blob": odd}, store)


def test_a_value_past_the_limit_may_not_be_inline(store: LocalStore) -> None:
    text = "x" * 5000
    digest = encode(text, ANY, store)["digest"]
    assert "at most 2048 bytes" in told({"type": "json", "digest": digest, "size": 5002, "inline": text}, store)


def test_what_is_nested_too_deeply_is_refused(store: LocalStore) -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    assert "nested too deeply" in told({"type": "json", "digest": "0" * 64, "size": 1, "inline": deep}, store)


def test_a_value_that_would_fill_the_memory_is_not_looked_into(
    store: LocalStore, file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = [encode([file] * 40, ANY, store), encode(Directory(file.path.parent), ANY, store)]
    refs.append(encode({"t": file, "pad": "x" * 5_000}, ANY, store))
    monkeypatch.setattr(module, "MAX_READ_BYTES", 60)
    for ref in refs:
        assert "at most 60 are read: pass it as a file" in told(ref, store)


def test_a_value_of_too_many_files_is_refused_before_any_is_asked_for(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BLOBS", 30)
    ref = encode(files(tmp_path, 30), ANY, store)
    assert told(ref, store) == ""
    assert "rests on more than 30 files" in told(encode(files(tmp_path, 31), ANY, store), store)


def test_blobs_that_are_not_there_are_told_with_their_places(store: LocalStore, tmp_path: Path) -> None:
    ref = encode(files(tmp_path, 40), ANY, store)
    lost = encode(File(tmp_path / "7"), ANY, store)["blob"]
    store.delete(blob_key(lost))
    assert told(ref, store) == f"x[7]: its blob {lost} is not in the store; put it first"


def files(folder: Path, count: int) -> list[File]:
    for number in range(count):
        (folder / str(number)).write_text(str(number))
    return [File(folder / str(number)) for number in range(count)]
