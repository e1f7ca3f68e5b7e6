import json
import os
from pathlib import Path

import pytest

from celesta.codecs import decode, encode
from celesta.errors import CodecError
from celesta.files import Directory, File
from celesta.hashing import canonical
from celesta.store.local import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "inputs"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "made"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "a.txt").write_text("a")
    (root / "sub" / "deep" / "b.bin").write_bytes(b"\0" * 1000)
    (root / "run.sh").write_text("#!/bin/sh")
    (root / "run.sh").chmod(0o700)
    return root


def test_a_file_comes_back_read_only_with_its_name(store: LocalStore, into: Path, folder: Path) -> None:
    ref = encode(File(folder / "a.txt"), {"kind": "file"}, store)
    assert ref == {
        "type": "file",
        "digest": ref["blob"],
        "size": 1,
        "blob": ref["blob"],
        "name": "a.txt",
        "media_type": "text/plain",
    }
    back = decode(ref, {"kind": "file"}, store, into)
    assert (back.name, back.size, back.digest, back.media_type) == ("a.txt", 1, ref["digest"], "text/plain")
    assert back.path.is_relative_to(into)
    assert back.path.read_text() == "a"
    assert back.path.stat().st_mode & 0o777 == 0o444


def test_whatever_a_step_does_to_a_received_file_the_blob_stays(store: LocalStore, into: Path, folder: Path) -> None:
    ref = encode(File(folder / "a.txt"), {"kind": "file"}, store)
    path = decode(ref, {"kind": "file"}, store, into).path
    path.chmod(0o666)
    path.write_text("changed")
    assert store.get_blob(ref["blob"]) == b"a"


def test_files_of_one_name_stay_apart_and_one_file_is_laid_once(store: LocalStore, into: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "model").write_text(str(number))
    ref = encode([File(tmp_path / n / "model") for n in ("1", "2", "1")], None, store)
    one, two, again = decode(ref, None, store, into)
    assert (one.read_text(), two.read_text()) == ("1", "2")
    assert again.path == one.path


def test_a_received_file_can_be_returned_again(store: LocalStore, into: Path, folder: Path) -> None:
    ref = encode(File(folder / "a.txt"), None, store)
    assert encode(decode(ref, None, store, into), None, store) == ref


def test_a_directory_comes_back_with_its_tree_and_modes(store: LocalStore, into: Path, folder: Path) -> None:
    ref = encode(Directory(folder), {"kind": "directory"}, store)
    assert (ref["type"], ref["size"]) == ("directory", 1 + 1000 + 9)
    back = decode(ref, {"kind": "directory"}, store, into)
    assert [path.relative_to(back.path).as_posix() for path in back.files()] == ["a.txt", "run.sh", "sub/deep/b.bin"]
    assert (back.path / "sub/deep/b.bin").read_bytes() == b"\0" * 1000
    assert (back.path / "run.sh").stat().st_mode & 0o777 == 0o555
    assert (back.path / "a.txt").stat().st_mode & 0o777 == 0o444
    assert (back.digest, back.size) == (ref["digest"], ref["size"])
    assert encode(back, None, store)["digest"] == ref["digest"]


def test_names_modes_and_contents_make_the_digest_of_a_directory(store: LocalStore, folder: Path) -> None:
    digests = {encode(Directory(folder), None, store)["digest"]}
    (folder / "a.txt").rename(folder / "c.txt")
    digests.add(encode(Directory(folder), None, store)["digest"])
    (folder / "c.txt").chmod(0o755)
    digests.add(encode(Directory(folder), None, store)["digest"])
    (folder / "c.txt").write_text("b")
    digests.add(encode(Directory(folder), None, store)["digest"])
    assert len(digests) == 4


def test_an_empty_directory_is_a_directory(store: LocalStore, into: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    back = decode(encode(Directory(tmp_path / "empty"), None, store), None, store, into)
    assert back.path.is_dir()
    assert back.files() == []


def test_empty_folders_come_back_and_count_in_the_digest(store: LocalStore, into: Path, folder: Path) -> None:
    without = encode(Directory(folder), None, store)
    (folder / "sub" / "empty" / "er").mkdir(parents=True)
    (folder / "bare").mkdir()
    ref = encode(Directory(folder), None, store)
    assert json.loads(store.get_blob(ref["blob"]))["folders"] == ["bare", "sub/empty/er"]
    assert (ref["digest"] != without["digest"], ref["size"]) == (True, without["size"])
    back = decode(ref, None, store, into)
    assert (back.path / "bare").is_dir()
    assert (back.path / "sub/empty/er").is_dir()
    assert encode(back, None, store) == ref


def test_the_digest_of_a_directory_stays_what_it_is(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "sub" / "a.txt").write_text("a")
    full = encode(Directory(tmp_path / "tree"), None, store)
    (tmp_path / "tree" / "empty").mkdir()
    assert full["digest"] == "3bfe2d6d59e0c7650dd093b22d45c3bbdfec5880a34648b3b182a2fd422c072e"
    assert (
        encode(Directory(tmp_path / "tree"), None, store)["digest"]
        == "d74e762e8c8e7bdce3fec85d8b4d840279c159cb1f6bef6980cec4c505b1795d"
    )


def test_a_folder_that_cannot_be_stored_whole_is_refused(store: LocalStore, folder: Path) -> None:
    (folder / "link").symlink_to("sub")
    with pytest.raises(CodecError, match="link is a link to another folder"):
        encode(Directory(folder), None, store)
    (folder / "link").unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(CodecError, match="pipe is neither a file nor a folder"):
        encode(Directory(folder), None, store)


def test_a_link_inside_a_directory_is_stored_as_what_it_shows(store: LocalStore, into: Path, folder: Path) -> None:
    (folder / "link").symlink_to("a.txt")
    back = decode(encode(Directory(folder), None, store), None, store, into)
    assert (back.path / "link").read_text() == "a"
    assert not (back.path / "link").is_symlink()


def test_a_link_out_of_a_directory_is_refused(store: LocalStore, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(CodecError, match="leads out of the folder"):
        encode(Directory(folder), None, store)


def test_what_is_not_there_is_refused(store: LocalStore, folder: Path, tmp_path: Path) -> None:
    for value in (File(tmp_path / "none"), File(folder), Directory(tmp_path / "none"), Directory(folder / "a.txt")):
        with pytest.raises(CodecError, match="is not there"):
            encode(value, None, store)


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "", ".."])
def test_a_name_that_leads_out_of_the_scratch_folder_is_refused(store: LocalStore, into: Path, name: str) -> None:
    blob = store.put_blob(b"evil")
    file = {"type": "file", "digest": blob, "size": 4, "blob": blob, "name": name}
    entries = ({"files": {name: {"digest": blob, "size": 4, "mode": 420}}}, {"files": {}, "folders": [name]})
    listings = [store.put_blob(canonical(entry)) for entry in entries]
    folders = [{"type": "directory", "digest": one, "size": 4, "blob": one} for one in listings]
    for ref in (file, *folders):
        with pytest.raises(CodecError, match="not a name inside a folder"):
            decode(ref, None, store, into)
    assert not [path for path in into.rglob("*") if path.is_file()]
