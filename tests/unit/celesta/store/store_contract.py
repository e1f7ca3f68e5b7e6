"""The rules that every store keeps, run over each of them: local here, S3 in the integration tests."""

import hashlib
import threading
import time
from pathlib import Path

import pytest

from celesta.errors import StoreError
from celesta.store.base import Store

ABSENT = "0" * 64


class StoreContract:
    """Needs a fixture `store`: empty, and written to by nobody else."""

    def test_create_writes_once_and_never_replaces(self, store: Store) -> None:
        assert store.create("runs/r/train/1.1/result.json", b"first") is True
        assert store.create("runs/r/train/1.1/result.json", b"second") is False
        assert store.get("runs/r/train/1.1/result.json") == b"first"

    def test_of_many_who_create_at_once_one_wins(self, store: Store) -> None:
        won: list[int] = []
        start = threading.Barrier(8)

        def race(number: int) -> None:
            start.wait()
            if store.create("race", b"%d" % number):
                won.append(number)

        threads = [threading.Thread(target=race, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert store.get("race") == b"%d" % won[0]

    def test_an_object_that_waits_for_its_flush_is_whole_and_created_once(self, store: Store) -> None:
        assert store.create("runs/r/train/1.1/result.json", b"first", flush=False) is True
        assert store.create("runs/r/train/1.1/result.json", b"second", flush=False) is False
        assert store.get("runs/r/train/1.1/result.json") == b"first"
        store.flush(["runs/r/train/1.1/result.json", "runs/r/lost/1.1/result.json"])
        assert store.get("runs/r/train/1.1/result.json") == b"first"

    def test_a_listing_tells_sizes_and_moments_and_keeping_tells_whether_it_is_there(self, store: Store) -> None:
        store.put("a/b", b"one")
        store.put("a/c", b"three")
        entries = list(store.entries("a/"))
        assert [(entry.key, entry.size) for entry in entries] == [("a/b", 3), ("a/c", 5)]
        assert all(abs(entry.written_at - time.time()) < 600 for entry in entries)
        assert [store.keep("a/b", 3), store.keep("a/b", 4), store.keep("a/d", 3)] == [True, False, False]
        assert store.get("a/b") == b"one"

    def test_put_replaces(self, store: Store) -> None:
        store.put("a/b", b"one")
        store.put("a/b", b"two")
        assert store.get("a/b") == b"two"
        assert store.size("a/b") == 3

    def test_an_empty_object_is_there(self, store: Store) -> None:
        store.put("empty", b"")
        assert store.get("empty") == b""
        assert store.size("empty") == 0

    def test_what_is_not_there_is_none(self, store: Store) -> None:
        store.put("a/b/c", b"x")
        assert store.get("nothing") is None
        assert store.open("a/nothing") is None
        assert store.size("nothing/below") is None
        assert store.get("a/b") is None
        assert store.size("a/b") is None

    def test_delete_is_idempotent_and_leaves_the_neighbours(self, store: Store) -> None:
        store.put("d/one", b"1")
        store.put("d/two", b"2")
        store.delete("d/one")
        store.delete("d/one")
        store.delete("never/was")
        assert store.get("d/one") is None
        assert store.get("d/two") == b"2"
        assert store.create("d/one", b"again") is True

    def test_list_gives_every_key_with_the_prefix_in_order(self, store: Store) -> None:
        for key in ("p/b/2", "p/a", "p/b/1", "p/b.txt", "q/x", "pp"):
            store.put(key, b".")
        assert list(store.list("p/")) == ["p/a", "p/b.txt", "p/b/1", "p/b/2"]
        assert list(store.list("p/b")) == ["p/b.txt", "p/b/1", "p/b/2"]
        assert list(store.list("p")) == ["p/a", "p/b.txt", "p/b/1", "p/b/2", "pp"]
        assert list(store.list("")) == ["p/a", "p/b.txt", "p/b/1", "p/b/2", "pp", "q/x"]
        assert list(store.list("none/")) == []

    def test_a_file_is_put_and_streamed(self, store: Store, tmp_path: Path) -> None:
        source = tmp_path / "log.txt"
        source.write_bytes(b"line\n" * 1000)
        store.put_file("runs/r/s/1.1/log.txt", source)
        stream = store.open("runs/r/s/1.1/log.txt")
        assert stream is not None
        with stream:
            assert stream.read(5) == b"line\n"
            assert len(stream.read()) == 4995

    def test_a_blob_is_found_by_the_digest_of_its_bytes(self, store: Store) -> None:
        digest = store.put_blob(b"hello")
        assert digest == hashlib.sha256(b"hello").hexdigest()
        assert store.put_blob(b"hello") == digest
        assert store.has_blob(digest)
        assert store.get_blob(digest) == b"hello"
        assert store.get(f"blobs/sha256/{digest[:2]}/{digest}") == b"hello"
        with store.open_blob(digest) as stream:
            assert stream.read() == b"hello"

    def test_a_blob_from_a_file_has_the_digest_of_its_bytes(self, store: Store, tmp_path: Path) -> None:
        source = tmp_path / "model.bin"
        source.write_bytes(bytes(range(256)) * 9000)
        expected = hashlib.sha256(source.read_bytes()).hexdigest()
        assert store.put_blob_file(source) == (expected, 256 * 9000)
        assert store.put_blob_file(source) == (expected, 256 * 9000)
        target = tmp_path / "fetched.bin"
        store.fetch_blob(expected, target)
        assert target.read_bytes() == source.read_bytes()

    def test_a_change_to_a_fetched_file_never_reaches_the_blob(self, store: Store, tmp_path: Path) -> None:
        digest = store.put_blob(b"original")
        store.fetch_blob(digest, tmp_path / "mine")
        (tmp_path / "mine").chmod(0o600)
        (tmp_path / "mine").write_bytes(b"changed!")
        assert store.get_blob(digest) == b"original"

    def test_a_missing_blob_is_an_error_that_no_retry_helps(self, store: Store, tmp_path: Path) -> None:
        assert not store.has_blob(ABSENT)
        for read in (store.get_blob, store.open_blob, lambda d: store.fetch_blob(d, tmp_path / "x")):
            with pytest.raises(StoreError, match="not in the store") as caught:
                read(ABSENT)
            assert caught.value.code == "missing_blob"
            assert not caught.value.retryable
        assert not (tmp_path / "x").exists()

    def test_a_damaged_blob_is_refused_and_can_be_put_again(self, store: Store, tmp_path: Path) -> None:
        digest = store.put_blob(b"whole")
        store.put(f"blobs/sha256/{digest[:2]}/{digest}", b"half")
        for read in (store.get_blob, lambda d: store.fetch_blob(d, tmp_path / "x")):
            with pytest.raises(StoreError) as caught:
                read(digest)
            assert caught.value.code == "corrupt_blob"
        assert not (tmp_path / "x").exists()
        store.put_blob(b"whole")
        assert store.get_blob(digest) == b"whole"

    @pytest.mark.parametrize(
        "key",
        ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "./a", "a\0b", "a\nb", "a b", "a\\b", "x" * 256, "é"],
    )
    def test_a_key_that_could_leave_the_store_is_refused(self, store: Store, key: str) -> None:
        for use in (
            store.get,
            store.size,
            store.open,
            store.delete,
            lambda k: store.put(k, b""),
            lambda k: store.create(k, b""),
        ):
            with pytest.raises(StoreError) as caught:
                use(key)
            assert caught.value.code == "bad_key"
            assert not caught.value.retryable

    def test_a_file_that_cannot_be_read_is_an_error_and_leaves_no_object(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="cannot be read"):
            store.put_file("k", tmp_path / "missing")
        with pytest.raises(StoreError, match="cannot be read"):
            store.put_blob_file(tmp_path / "missing")
        assert list(store.list("")) == []
