"""The client against a real HTTP server that answers as the contracts say."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from celesta.client import Client, MissingBlobs
from celesta.errors import InputError, NotFoundError, ServerUnreachable, StoreError
from celesta.store.base import digest_of
from tests.fixtures.processes import free_port

BASE = "/api/v1/projects/team"


class Server(ThreadingHTTPServer):
    """Answers from `answers`, one per request to a method and path, and remembers what came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, list[tuple[int, object]]] = {}
        self.seen: list[tuple[str, bytes, dict[str, str]]] = []
        self.connections: set[object] = set()

    def on(self, request: str, *answers: tuple[int, object]) -> None:
        self.answers[request] = list(answers)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server
    drop_next: ClassVar[bool] = False

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.server.connections.add(self.client_address)
        self.server.seen.append((f"{self.command} {self.path}", self.rfile.read(length), dict(self.headers)))
        answers = self.server.answers.get(
            f"{self.command} {self.path}", [(404, {"code": "not_found", "message": "no such thing"})]
        )
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        self.close_connection = self.headers.get("X-Close") is not None

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815 - names of the base class

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(f"http://127.0.0.1:{server.server_port}", token="cel_secret", project="team") as client:
        yield client


def test_one_connection_serves_many_calls(server: Server, client: Client) -> None:
    server.on("GET /api/v1/me", (200, {"name": "ada"}))
    assert [client.me() for _ in range(3)] == [{"name": "ada"}] * 3
    assert len(server.connections) == 1
    assert server.seen[0][2]["Authorization"] == "Bearer cel_secret"


def test_the_connection_survives_an_error(server: Server, client: Client) -> None:
    server.on("GET /api/v1/me", (200, {}))
    with pytest.raises(NotFoundError, match="no such thing"):
        client.run("unknown")
    client.me()
    assert len(server.connections) == 1


@pytest.mark.parametrize(
    "answer",
    [(404, b"<h1>Not here</h1>"), (404, {"detail": "Not Found"}), (200, b"<h1>Welcome</h1>")],
    ids=["a page", "another API", "a page for everything"],
)
def test_what_is_no_celesta_server_is_told_from_one(server: Server, client: Client, answer: tuple[int, object]) -> None:
    server.on(f"GET {BASE}/runs/r", answer)
    with pytest.raises(NotFoundError, match=r"does not answer as a Celesta server: .* is it a Celesta server"):
        client.run("r")


def test_an_address_with_a_path_too_many_is_told_so(server: Server) -> None:
    with Client(f"http://127.0.0.1:{server.server_port}/foo", project="team") as client:
        server.on(
            f"GET /foo{BASE}/runs/r", (404, {"code": "unknown_path"}), (404, {"code": "not_found", "message": "no"})
        )
        with pytest.raises(NotFoundError, match=rf"nothing at /foo{BASE}/runs/r; give its address without a path"):
            client.run("r")
        with pytest.raises(NotFoundError, match=r"^no$"):
            client.run("r")


def test_an_idle_connection_that_the_server_closed_is_opened_again(server: Server, client: Client) -> None:
    server.on(f"POST {BASE}/runs", (201, {"run_id": "r"}))
    client.http._headers["X-Close"] = "1"
    assert client.launch("w")["run_id"] == "r"
    assert client.launch("w")["run_id"] == "r"
    assert len(server.connections) == 2


def test_registering_uploads_only_what_the_server_misses(server: Server, client: Client, tmp_path: Path) -> None:
    small, large = b"small", tmp_path / "large"
    large.write_bytes(b"large" * 1000)
    digests = {name: digest_of(data) for name, data in (("small", small), ("large", large.read_bytes()))}
    missing = {"code": "missing_blobs", "message": "missing", "errors": [digests["large"]]}
    server.on(f"POST {BASE}/versions", (409, missing), (201, {"version": "v", "created": True}))
    server.on(f"PUT {BASE}/blobs/{digests['large']}", (201, b""))

    assert client.register({"name": "w"}, {digests["small"]: small, digests["large"]: large})["version"] == "v"
    assert [request for request, _, _ in server.seen] == [
        f"POST {BASE}/versions",
        f"PUT {BASE}/blobs/{digests['large']}",
        f"POST {BASE}/versions",
    ]
    assert server.seen[1][1] == large.read_bytes()


def test_a_blob_that_nobody_has_is_an_error(server: Server, client: Client) -> None:
    server.on(f"POST {BASE}/versions", (409, {"code": "missing_blobs", "message": "missing", "errors": ["ab"]}))
    with pytest.raises(MissingBlobs):
        client.register({"name": "w"}, {})


def test_waiting_ends_when_the_end_is_recorded(server: Server, client: Client) -> None:
    running = {"status": "running", "recorded_at": None}
    over = {"status": "succeeded", "recorded_at": "2026-01-01T00:00:00Z"}
    server.on(
        f"GET {BASE}/runs/r?wait_seconds=25.0", (200, running), (200, running | {"status": "succeeded"}), (200, over)
    )
    assert client.wait("r") == over


def test_waiting_bears_a_server_that_restarts(server: Server, client: Client) -> None:
    over = {"status": "failed", "recorded_at": "2026-01-01T00:00:00Z"}
    server.on(f"GET {BASE}/runs/r?wait_seconds=25.0", (503, {"message": "starting"}), (200, over))
    assert client.wait("r")["status"] == "failed"


def test_a_listing_follows_its_cursor(server: Server, client: Client) -> None:
    server.on(f"GET {BASE}/runs?status=failed&limit=100", (200, {"items": [{"run_id": "a"}], "next_cursor": "c="}))
    server.on(
        f"GET {BASE}/runs?status=failed&limit=100&cursor=c%3D", (200, {"items": [{"run_id": "b"}], "next_cursor": None})
    )
    assert [run["run_id"] for run in client.runs(status="failed")] == ["a", "b"]


def test_problems_of_the_server_come_through(server: Server, client: Client) -> None:
    server.on(f"POST {BASE}/runs", (422, {"message": "wrong inputs", "errors": [{"where": "n", "message": "no int"}]}))
    with pytest.raises(InputError, match="n: no int"):
        client.launch("w")


def test_numbers_that_json_does_not_have_are_sent_by_name(server: Server, client: Client) -> None:
    server.on(f"POST {BASE}/runs", (201, {}))
    client.launch("w", {"lr": float("nan"), "grid": [1.5, float("-inf")]})
    assert json.loads(server.seen[0][1])["inputs"] == {"lr": "nan", "grid": [1.5, "-inf"]}


def test_a_download_is_checked(server: Server, client: Client, tmp_path: Path) -> None:
    server.on(f"GET {BASE}/artifacts/7/content", (200, b"content"))
    assert client.download("7", tmp_path / "out", digest_of(b"content")) == 7
    with pytest.raises(StoreError):
        client.download("7", tmp_path / "other", digest_of(b"other"))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_names_are_quoted(server: Server, client: Client) -> None:
    server.on(f"GET {BASE}/workflows/a%2Fb%20c", (200, {}))
    client.workflow("a/b c")


def test_events_are_taken_up_where_they_broke_off(server: Server, client: Client) -> None:
    def event(number: int, kind: str) -> bytes:
        return f'id: {number}\ndata: {{"kind": "{kind}"}}\n\n'.encode()

    first = event(1, "run.started") + event(2, "step.running")
    server.on(f"GET {BASE}/runs/r/events?brief=true", (200, first), (200, event(3, "run.recorded")))
    running: dict[str, Any] = {"status": "running", "recorded_at": None}
    server.on(f"GET {BASE}/runs/r", (200, running))
    assert [event["kind"] for event in client.events("r")] == ["run.started", "step.running", "run.recorded"]
    assert server.seen[-1][2]["Last-Event-ID"] == "2"


def test_nobody_there_is_server_unreachable() -> None:
    port = free_port()
    with Client(f"http://127.0.0.1:{port}") as client, pytest.raises(ServerUnreachable, match=f":{port}"):
        client.me()


LOG = f"GET {BASE}/runs/r/steps/train/log"


def frames(*documents: dict[str, Any]) -> tuple[int, object]:
    return 200, "".join(f"data: {json.dumps(document)}\n\n" for document in documents).encode()


def test_a_followed_log_tells_where_it_begins_anew(server: Server, client: Client) -> None:
    server.on(LOG, frames({"text": "old"}, {"text": "whole", "reset": True}, {"text": "", "end": True}))
    assert list(client.follow_log("r", "train")) == [("old", False), ("whole", True), ("", False)]


def test_a_log_whose_stream_broke_off_is_followed_from_its_beginning(server: Server, client: Client) -> None:
    server.on(LOG, frames({"text": "one"}), frames({"text": "one"}, {"text": " two", "end": True}))
    assert list(client.follow_log("r", "train")) == [("one", False), ("one", True), (" two", False)]
