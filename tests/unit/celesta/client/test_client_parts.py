import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from celesta.client.events import Message, parse
from celesta.client.http import connect, error_of, is_loopback
from celesta.client.transfer import patiently, save
from celesta.errors import (
    AccessError,
    ApiError,
    CelestaError,
    ConflictError,
    InputError,
    MissingBlobs,
    NotFoundError,
    Problem,
    ServerUnreachable,
    StoreError,
    TooLarge,
)
from celesta.store.base import digest_of


def test_events_are_read_as_the_standard_says() -> None:
    lines = [
        b": hello\n",
        b"id: 7-0\n",
        b"event: run.started\n",
        b"data: {\n",
        b"data:}\r\n",
        b"\n",
        b"data: x\n",
        b"\n",
    ]
    assert list(parse(lines)) == [Message("7-0", "run.started", "{\n}"), Message("7-0", "message", "x")]


def test_an_event_that_broke_off_is_not_reported() -> None:
    assert list(parse([b"data: half"])) == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InputError),
        (401, AccessError),
        (403, AccessError),
        (404, NotFoundError),
        (409, ConflictError),
        (413, TooLarge),
        (422, InputError),
        (500, ApiError),
        (503, ServerUnreachable),
    ],
)
def test_a_status_is_an_error_of_the_tree(status: int, kind: type[CelestaError]) -> None:
    error = error_of(status, b"<html>", "GET http://here/x")
    assert type(error) is kind
    assert str(status) in str(error)


def test_problems_of_a_payload_keep_their_places() -> None:
    payload = {
        "code": "x",
        "message": "bad",
        "errors": {"json": {"n": ["too small"]}, "m": {"where": "a.b", "message": "no"}},
    }
    error = error_of(422, json.dumps(payload).encode(), "")
    assert isinstance(error, InputError)
    assert error.problems == [Problem("json.n", "too small"), Problem("a.b", "no")]


def test_what_to_do_about_problems_is_told_as_the_server_did() -> None:
    refused = InputError("set THIS", problems=[Problem("steps.a", "wants it")])
    payload = {"message": str(refused), "errors": [{"where": "steps.a", "message": "wants it"}]}
    assert str(error_of(422, json.dumps(payload).encode(), "")) == str(refused) == "set THIS:\n  - steps.a: wants it"


def test_missing_blobs_carry_their_digests() -> None:
    error = error_of(409, b'{"code": "missing_blobs", "message": "m", "errors": ["ab"]}', "")
    assert isinstance(error, MissingBlobs)
    assert error.digests == ["ab"]


def test_a_failure_of_the_server_names_the_request() -> None:
    assert "request r1" in str(error_of(500, b'{"message": "oops", "request_id": "r1"}', ""))


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("10.0.0.1", False)]
)
def test_loopback_is_known(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_a_proxy_is_used_but_never_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    assert connect(urlsplit("http://127.0.0.1:1"))[0].host == "127.0.0.1"
    connection, prefix = connect(urlsplit("http://celesta.example"))
    assert (connection.host, connection.port, prefix) == ("proxy.example", 3128, "http://celesta.example")


def test_a_download_that_was_damaged_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="model"):
        save([b"ab", b"c"], tmp_path / "model", digest_of(b"abd"))
    assert list(tmp_path.iterdir()) == []
    assert save([b"ab", b"c"], tmp_path / "model", digest_of(b"abc")) == 3
    assert (tmp_path / "model").read_bytes() == b"abc"


def test_patience_ends() -> None:
    def never() -> None:
        raise ServerUnreachable("gone")

    with pytest.raises(ServerUnreachable):
        patiently(never, patience_seconds=0.05)
