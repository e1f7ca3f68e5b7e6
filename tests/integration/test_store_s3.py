"""The store in S3 against a server that speaks its protocol over HTTP."""

import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from celesta.errors import StoreError
from celesta.store import open_store
from celesta.store import s3 as s3_module
from celesta.store.base import Store
from celesta.store.s3 import S3Store
from tests.fixtures.object_store import Bucket
from tests.unit.celesta.store.store_contract import StoreContract


@pytest.fixture
def store(s3: Bucket) -> S3Store:
    store = open_store(s3.store_url, s3.endpoint_url)
    assert isinstance(store, S3Store)
    return store


@pytest.fixture
def quick_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client of the test's own that gives up at once."""
    config = s3_module.Config

    def impatient(**settings: object) -> object:
        return config(**(settings | {"retries": {"total_max_attempts": 1}, "connect_timeout": 1, "read_timeout": 1}))

    monkeypatch.setattr(s3_module, "Config", impatient)
    monkeypatch.setattr(s3_module, "_clients", {})


class TestS3Store(StoreContract):
    pass


class TestS3StoreThatIgnoresConditions(StoreContract):
    """GCS by HMAC: create looks first, and nobody can promise more than the database does."""

    @pytest.fixture
    def store(self, s3: Bucket) -> S3Store:
        store = S3Store(s3.store_url.split("/")[2], "celesta", s3.endpoint_url)
        store._conditional = False
        return store

    test_of_many_who_create_at_once_one_wins = None  # type: ignore[assignment]


def test_a_large_file_goes_up_in_parts(store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_module, "PART_BYTES", 5 << 20)
    source = tmp_path / "big"
    source.write_bytes(os.urandom(1 << 20) * 12)
    digest, size = store.put_blob_file(source)
    assert size == 12 << 20
    store.fetch_blob(digest, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    head = store._head(f"blobs/sha256/{digest[:2]}/{digest}")
    assert head is not None
    assert head["ETag"].endswith('-3"')


@pytest.mark.parametrize("part_bytes", [16 << 20, 5 << 20])
def test_a_file_that_changes_while_it_is_stored_leaves_no_object(
    store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part_bytes: int
) -> None:
    monkeypatch.setattr(s3_module, "PART_BYTES", part_bytes)
    source = tmp_path / "moving"
    source.write_bytes(b"a" * (6 << 20))
    keep = store.keep

    def changed_meanwhile(key: str, size: int) -> bool:
        source.write_bytes(b"b" * (6 << 20))
        return keep(key, size)

    monkeypatch.setattr(store, "keep", changed_meanwhile)
    with pytest.raises(StoreError, match="changed while it was stored"):
        store.put_blob_file(source)
    assert list(store.list("")) == []
    assert "Uploads" not in store._client.list_multipart_uploads(Bucket=store.bucket)


def test_a_retry_that_meets_its_own_write_has_created_the_object(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = store._client

    class AnswerLost:
        def put_object(self, **arguments: object) -> object:
            client.put_object(**arguments)
            return client.put_object(**arguments)  # What boto3 does when the first answer never arrives.

        def __getattr__(self, name: str) -> object:
            return getattr(client, name)

    monkeypatch.setattr(s3_module, "_client", lambda endpoint: AnswerLost())
    assert store.create("once", b"mine") is True
    assert store.create("once", b"mine") is False


def test_a_missing_bucket_is_an_error_and_never_an_absence(s3: Bucket) -> None:
    store = open_store("s3://no-such-bucket/x", s3.endpoint_url)
    for ask in (store.get, store.size, store.open, lambda key: list(store.list(key))):
        with pytest.raises(StoreError, match="did not answer"):
            ask("key")
    with pytest.raises(StoreError):
        store.has_blob("0" * 64)


def test_a_server_that_is_not_there_is_an_error_that_a_retry_may_help(s3: Bucket, quick_failures: None) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    store = open_store("s3://bucket/x", endpoint)
    for use in (
        store.get,
        store.size,
        store.delete,
        lambda key: store.put(key, b""),
        lambda key: store.create(key, b""),
    ):
        with pytest.raises(StoreError, match="did not answer for key") as caught:
            use("key")
        assert caught.value.retryable


class Server(ThreadingHTTPServer):
    """Answers every request alike, on connections that stay open, and remembers who asked."""

    daemon_threads = True
    status = 500
    body = b""
    promised = 0  # bytes more than are sent

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.clients: list[object] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.clients.append(self.client_address)
        self.close_connection = bool(self.server.promised)
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body) + self.server.promised))
        self.end_headers()
        self.wfile.write(self.server.body if self.command == "GET" else b"")

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def odd_server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("status", "retryable"), [(500, True), (503, True), (403, False)])
def test_only_a_refusal_is_final(
    s3: Bucket, quick_failures: None, odd_server: Server, status: int, retryable: bool
) -> None:
    odd_server.status = status
    store = open_store("s3://bucket/x", odd_server.url)
    with pytest.raises(StoreError) as caught:
        store.size("key")
    assert caught.value.retryable is retryable


def test_a_stream_that_breaks_off_is_a_store_error(s3: Bucket, quick_failures: None, odd_server: Server) -> None:
    odd_server.status, odd_server.body, odd_server.promised = 200, b"half", 1000
    with pytest.raises(StoreError, match="did not answer for key"):
        open_store("s3://bucket/x", odd_server.url).get("key")


def in_a_fork(store: Store) -> None:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if store.get("key") == b"whole" else 1
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_a_store_used_before_a_fork_works_after_it_on_connections_of_its_own(
    s3: Bucket, quick_failures: None, odd_server: Server
) -> None:
    odd_server.status, odd_server.body = 200, b"whole"
    store = open_store("s3://bucket/x", odd_server.url)
    assert store.get("key") == b"whole"
    in_a_fork(store)
    assert store.get("key") == b"whole"
    parent, child, parent_again = odd_server.clients
    assert parent == parent_again
    assert child != parent


def test_a_store_opened_before_a_fork_and_not_used_works_after_it(store: S3Store, s3: Bucket) -> None:
    store.put("key", b"whole")
    in_a_fork(open_store(s3.store_url, s3.endpoint_url))


def test_stores_of_two_prefixes_do_not_see_each_other(s3: Bucket) -> None:
    bucket = s3.store_url.split("/")[2]
    one, other = (open_store(f"s3://{bucket}/{prefix}", s3.endpoint_url) for prefix in ("a", "ab"))
    one.put("key", b"1")
    assert other.get("key") is None
    assert list(other.list("")) == []
    assert list(one.list("")) == ["key"]
