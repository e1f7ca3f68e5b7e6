"""Every blob below a value is named, with its place: what is forgotten here is lost by a garbage collection."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from celesta.codecs import blobs, encode
from celesta.codecs.reach import values_of
from celesta.errors import CodecError, StoreError
from celesta.files import Directory, File
from celesta.hashing import digest_of
from celesta.store import Store, open_store
from celesta.types import type_of


@dataclass
class Trained:
    model: File
    notes: str


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file://{tmp_path}/store")


@pytest.fixture
def file(tmp_path: Path) -> File:
    (tmp_path / "m.bin").write_bytes(b"model")
    return File(tmp_path / "m.bin")


ANY = {"kind": "any"}
MODEL = digest_of(b"model")


def places(value: Any, hint: Any, store: Store) -> dict[str, str]:
    return dict(blobs(encode(value, type_of(hint), store), store))


def test_a_value_in_its_reference_has_no_blob(store: Store) -> None:
    assert places({"a": 1}, dict[str, int], store) == {}


def test_files_are_found_wherever_they_are_in_a_value(store: Store, file: File) -> None:
    assert places(file, File, store) == {"": MODEL}
    assert places([file, file], list[File], store) == {"[0]": MODEL, "[1]": MODEL}
    assert places({"best": file}, dict[str, File], store) == {"best": MODEL}
    assert places((1, file), tuple[int, File], store) == {"[1]": MODEL}
    assert places(Trained(file, ""), Trained, store) == {"model": MODEL}


def test_what_is_in_blobs_is_looked_into(store: Store, file: File, tmp_path: Path) -> None:
    long = places([file] * 20, list[File], store)
    assert len(long) == 21
    assert long["[19]"] == MODEL
    large = places(Trained(file, "x" * 5_000), Trained, store)
    assert large["model"] == MODEL
    assert set(large) == {"", "model"}
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    (tmp_path / "folder" / "sub" / "m.bin").write_bytes(b"model")
    assert places(Directory(tmp_path / "folder"), Directory, store)["sub/m.bin"] == MODEL


def test_a_folder_is_looked_into_whatever_else_its_reference_says(store: Store, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/m.bin").write_bytes(b"model")
    ref = encode(Directory(tmp_path / "folder"), ANY, store)
    for more in ({"inline": []}, {"inline": "x"}, {"items": []}):
        assert dict(blobs(ref | more, store))["m.bin"] == MODEL


def test_an_array_is_its_blob(store: Store) -> None:
    ref = encode(np.zeros(3), {"kind": "ndarray"}, store)
    assert list(blobs(ref, store)) == [("", ref["blob"])]


def test_a_folder_whose_listing_is_gone_is_an_error_and_not_empty(store: Store) -> None:
    ref = {"type": "directory", "digest": "0" * 64, "size": 1, "blob": "0" * 64}
    with pytest.raises(StoreError, match="is not in the store"):
        list(blobs(ref, store))


REF = {"type": "json", "digest": "a" * 64, "size": 1, "inline": 1}
OTHER = {"type": "file", "digest": "b" * 64, "size": 1, "blob": "b" * 64}


def test_the_values_that_stand_in_a_document_are_found_whatever_holds_them() -> None:
    port = {"name": "x", "type": {"kind": "int"}, "default": REF}
    step = {"inputs": {"x": {"value": OTHER}, "y": {"step": "a", "output": "result"}}}
    assert list(values_of({"tasks": {"t": {"interface": {"inputs": [port]}}}, "steps": [step]})) == [REF, OTHER]


def test_a_task_may_name_its_inputs_as_a_reference_names_its_parts() -> None:
    inputs = {name: {"value": REF} for name in ("type", "digest", "size", "inline")} | {"items": {"value": OTHER}}
    assert list(values_of({"inputs": inputs})) == [REF, REF, REF, REF, OTHER]


def test_what_passes_itself_off_as_a_reference_hides_nothing() -> None:
    step = {"path": "a", "type": "json", "digest": "a" * 64, "size": 1, "inputs": {"x": {"value": OTHER}}}
    assert OTHER in list(values_of({"steps": [step]}))


def test_what_a_value_says_of_itself_is_no_reference() -> None:
    looks_like_one = REF | {"inline": {"o": ["m:Stored", {"type": "x", "digest": "y", "size": 1, "blob": "z"}]}}
    assert list(values_of([looks_like_one])) == [looks_like_one]


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        ("directory", b"not JSON"),
        ("directory", b"[]"),
        ("directory", b'{"files": {"a": 1}}'),
        ("directory", b'{"files": {"a": {"digest": "\\u0000"}}}'),
        ("json", b'{"ref": 1}'),
        ("json", b'[{"ref": {"type": 1}}]'),
        ("json", b'{"ref": {"type": "directory", "blob": "x"}}'),
    ],
)
def test_what_has_not_the_form_of_its_type_is_refused(kind: str, written: bytes, store: Store) -> None:
    ref = {"type": kind, "digest": digest_of(b""), "blob": store.put_blob(written)}
    with pytest.raises(CodecError):
        list(blobs(ref, store))
