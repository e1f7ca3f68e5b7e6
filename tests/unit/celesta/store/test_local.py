import errno
import os
import time
from pathlib import Path

import pytest

from celesta.errors import StoreError
from celesta.store import open_store
from celesta.store.local import LocalStore
from tests.unit.celesta.store.store_contract import StoreContract


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


class TestLocalStore(StoreContract):
    pass


class TestLocalStoreWithoutNamelessFiles(StoreContract):
    """As on NFS: what is being written has a name from the start."""

    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
        real = os.open

        def no_nameless(path: str, flags: int, *more: int, **options: int) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            return real(path, flags, *more, **options)

        monkeypatch.setattr(os, "open", no_nameless)
        return LocalStore(tmp_path / "store")


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Everything that is flushed, in its order."""
    real, seen = os.fsync, []

    def fsync(descriptor: int) -> None:
        seen.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return seen


def test_a_write_is_flushed_before_it_has_its_name_and_its_folder_after(store: LocalStore, flushed: list[str]) -> None:
    store.create("a/k", b"x")
    file, folder = flushed
    assert file.startswith(f"{store.root}/a/#")
    assert folder == f"{store.root}/a"


def test_many_objects_are_flushed_each_with_its_folder(store: LocalStore, flushed: list[str]) -> None:
    keys = [f"runs/r/{number}/k" for number in range(40)]
    for key in keys[:-1]:
        store.create(key, b"x", flush=False)
    store.flush(keys)
    files = {f"{store.root}/{key}" for key in keys[:-1]}
    assert sorted(flushed) == sorted(files | {file.removesuffix("/k") for file in files})


def test_a_flush_that_fails_is_told_once_none_is_at_it(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"runs/r/{number}/k" for number in range(40)]
    for key in keys:
        store.create(key, b"x", flush=False)

    tried: list[int] = []

    def broken(descriptor: int) -> None:
        tried.append(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", broken)
    for some in (keys, keys[:1]):
        tried.clear()
        with pytest.raises(StoreError, match="Input/output error"):
            store.flush(some)
        assert len(tried) == len(some)


def test_an_object_that_waits_is_flushed_with_its_folder_when_asked(store: LocalStore, flushed: list[str]) -> None:
    store.create("a/k", b"x", flush=False)
    assert flushed == []
    store.flush(["a/k", "a/lost"])
    assert flushed == [f"{store.root}/a/k", f"{store.root}/a"]


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("write", ["create", "put", "put_blob"])
def test_a_full_disk_leaves_no_half_object(store: LocalStore, monkeypatch: pytest.MonkeyPatch, write: str) -> None:
    def no_room(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_room)
    arguments = (b"data",) if write == "put_blob" else ("a/key", b"data")
    with pytest.raises(StoreError, match="No space left on device; make room") as caught:
        getattr(store, write)(*arguments)
    assert caught.value.code == "store_full"
    assert caught.value.retryable
    assert files_below(Path(store.root)) == []


def test_a_blob_from_a_file_on_a_full_disk_leaves_nothing(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "big").write_bytes(b"data")

    def no_room(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", no_room)
    with pytest.raises(StoreError, match="No space left"):
        store.put_blob_file(tmp_path / "big")
    assert files_below(Path(store.root)) == []


def test_a_write_cut_short_by_the_system_is_completed(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    store.put("k", b"0123456789")
    assert store.get("k") == b"0123456789"


def test_nothing_is_concluded_when_the_folder_is_gone(store: LocalStore) -> None:
    Path(store.root).rename(store.root + ".moved")
    for read in (store.get, store.size, store.open, lambda key: list(store.list("a/"))):
        with pytest.raises(StoreError):
            read("a/key")


def test_an_object_that_may_not_be_read_is_an_error_not_an_absence(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("k", b"x")

    def denied(*_: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(StoreError, match="Permission denied") as caught:
        store.get("k")
    assert not caught.value.retryable


def test_a_symbolic_link_inside_the_store_leads_nowhere(store: LocalStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    Path(store.root, "link").symlink_to(outside)
    Path(store.root, "file").symlink_to(outside / "secret")
    for use in (store.get, lambda key: store.put(key, b"x"), lambda key: store.create(key, b"x"), store.delete):
        with pytest.raises(StoreError):
            use("link/secret")
    with pytest.raises(StoreError):
        store.get("file")
    assert (outside / "secret").read_text() == "secret"
    assert list(store.list("")) == []


def test_objects_are_read_only_files(store: LocalStore) -> None:
    store.put("a/b", b"x")
    assert Path(store.root, "a/b").stat().st_mode & 0o222 == 0


def test_what_is_being_written_is_no_object(store: LocalStore) -> None:
    Path(store.root, "tmp", "left-by-a-killed-process").write_bytes(b"half")
    assert list(store.list("")) == []
    with pytest.raises(StoreError):
        store.get("tmp/left-by-a-killed-process")


def test_deleting_the_last_object_of_a_folder_removes_the_folder(store: LocalStore) -> None:
    store.put("runs/r/s/1.1/log.txt", b"x")
    store.delete("runs/r/s/1.1/log.txt")
    assert list(Path(store.root).iterdir()) == [Path(store.root, "tmp")]


def test_a_folder_where_no_store_can_be_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file/store cannot be opened"):
        LocalStore(tmp_path / "file" / "store")


def test_open_store_takes_a_file_url_or_an_absolute_folder(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    assert open_store(folder.as_uri()).url == open_store(str(folder)).url
    assert folder.is_dir()


@pytest.mark.parametrize("url", ["store", "ftp://host/x", "file://host/x", "", "s3:bucket"])
def test_open_store_refuses_what_is_no_store(url: str) -> None:
    with pytest.raises(StoreError, match=r"is not a store|needs a bucket"):
        open_store(url)


def test_a_sweep_removes_what_killed_writers_left_and_no_write_that_goes_on(store: LocalStore) -> None:
    folder = Path(store.root, "tmp")
    store.put("objects/old", b"whole")
    day_ago = time.time() - 90_000
    for name in ("killed", "going-on"):
        (folder / name).write_bytes(b"half")
    for path in (folder / "killed", Path(store.root, "objects", "old")):
        os.utime(path, (day_ago, day_ago))
    assert store.sweep() == 1
    assert [path.name for path in folder.iterdir()] == ["going-on"]
    assert store.get("objects/old") == b"whole"
    assert store.sweep() == 0
