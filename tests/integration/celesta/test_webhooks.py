"""The task `webhook`, against a server on this machine: what it says, and whom it will not call."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import pytest

from celesta import webhook
from celesta.errors import InputError
from celesta.webhooks import ALLOW, Refused, TryAgain


class Handler(BaseHTTPRequestHandler):
    got: ClassVar[list[Any]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append((self.path, self.headers["Content-Type"], json.loads(body)))
        self.send_response(int(self.path.strip("/") or 200))
        self.send_header("Location", "http://127.0.0.1/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    Handler.got = []
    made = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.mark.parametrize("allowed", ["127.0.0.1", "10.0.0.0/8, 127.0.0.0/8"])
def test_a_body_is_posted_as_json_where_it_is_allowed(
    server: str, monkeypatch: pytest.MonkeyPatch, allowed: str
) -> None:
    monkeypatch.setenv(ALLOW, allowed)
    assert webhook(url=f"{server}/", body={"run": "r1"}) == 200
    assert Handler.got == [("/", "application/json", {"run": "r1"})]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "10.1.2.3", "169.254.169.254", "0.0.0.0", "224.0.0.1", "[::ffff:127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[2002:a00:1::]"])  # fmt: skip  # noqa: E501
def test_no_address_inside_is_called_unless_it_is_allowed(
    server: str, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.delenv(ALLOW, raising=False)
    port = server.rpartition(":")[2]
    with pytest.raises(InputError, match=f"not on the open internet.*{ALLOW}"):
        webhook(url=f"http://{host}:{port}/", body=None)
    assert Handler.got == []


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://example.com/", "write http://"),
        ("file:///etc/passwd", "write http://"),
        ("gopher://127.0.0.1/", "write http://"),
        ("http://", "write http://"),
        ("http://me:secret@example.com/", "leave it out"),
    ],
)
def test_only_web_addresses_are_spoken_to(url: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        webhook(url=url)


def test_a_name_that_stands_for_an_address_inside_is_found_out(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    port = int(server.rpartition(":")[2])
    answer = [(2, 1, 6, "", ("93.184.216.34", port)), (2, 1, 6, "", ("127.0.0.1", port))]
    monkeypatch.setattr("celesta.webhooks.socket.getaddrinfo", lambda *_, **__: answer)
    with pytest.raises(InputError, match=r"is 127\.0\.0\.1"):
        webhook(url=f"http://example.com:{port}/")


@pytest.mark.parametrize(("status", "error"), [(302, Refused), (404, Refused), (429, TryAgain), (503, TryAgain)])
def test_an_answer_that_is_no_success_is_an_error(
    server: str, monkeypatch: pytest.MonkeyPatch, status: int, error: type[Exception]
) -> None:
    monkeypatch.setenv(ALLOW, "127.0.0.1")
    with pytest.raises(error, match=f"answered {status}"):
        webhook(url=f"{server}/{status}")
    assert len(Handler.got) == 1, "a redirect is not followed"
