"""Whatever goes wrong, the answer has one shape, says what to do, and leaks nothing."""

from __future__ import annotations

import base64
import json
import logging
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from app.redis_client import connect
from tests.fixtures.playground import Answer, Playground, playground_config, serving
from tests.unit.app.specs import diamond


def is_problem(answer: Answer, status: int, code: str) -> dict[str, object]:
    assert answer.status == status, answer.text
    document = answer.json
    assert set(document) == {"code", "message", "errors", "request_id"}
    assert document["code"] == code
    assert document["request_id"]
    assert document["request_id"] == answer.headers["x-request-id"]
    return document


def test_an_unknown_path_is_a_404(playground: Playground) -> None:
    document = is_problem(playground.call("GET", "/api/v1/nothing"), 404, "unknown_path")
    assert document["message"] == "there is nothing at /api/v1/nothing; the API is described at /api/v1/openapi.json"


def test_a_wrong_method_is_a_405_that_names_the_right_ones(playground: Playground) -> None:
    answer = playground.call("DELETE", "runs")
    is_problem(answer, 405, "method_not_allowed")
    assert {"GET", "POST"} <= set(answer.headers["allow"].split(", "))


def test_a_body_that_is_not_json_is_told_so(playground: Playground) -> None:
    answer = playground.call("POST", "runs", data=b"{oops", Content_Type="application/json")
    document = is_problem(answer, 400, "bad_request")
    assert document["message"] == "Invalid JSON body."


@pytest.mark.parametrize(
    "body",
    [
        b'{"workflow": "w", "inputs": {"x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}}",
        b'{"workflow": "w", "inputs": {"x": ' + b"9" * 5_000 + b"}}",
        b'{"workflow": "half a \\ud800 pair"}',
        b'{"workflow": "w", "idempotency_key": "\\uD800"}',
        b'{"workflow": "w", "inputs": {"x": NaN}}',
        b'{"workflow": "w", "inputs": {"x": [-Infinity]}}',
        b'{"workflow": "w", "inputs": {"x": 1e999}}',
    ],
    ids=["too deep", "too many digits", "a name that is no text", "a key that is no text", "nan", "inf", "too large"],
)
def test_a_body_that_breaks_the_parser_is_the_senders_mistake(playground: Playground, body: bytes) -> None:
    is_problem(playground.call("POST", "runs", data=body, Content_Type="application/json"), 400, "bad_request")


def test_a_body_of_another_type_is_told_so(playground: Playground) -> None:
    answer = playground.call("POST", "runs", data=b"workflow=x", Content_Type="application/x-www-form-urlencoded")
    is_problem(answer, 415, "unsupported_media_type")


def test_all_problems_of_a_body_come_at_once_with_their_places(playground: Playground) -> None:
    answer = playground.call("POST", "runs", {"inputs": 3, "nonsense": 1, "options": {"refresh": "maybe"}})
    document = is_problem(answer, 422, "invalid_input")
    assert {problem["where"] for problem in document["errors"]} == {  # type: ignore[attr-defined]
        "workflow",
        "inputs",
        "nonsense",
        "options.refresh",
    }


def test_a_json_array_where_an_object_is_wanted_is_refused(playground: Playground) -> None:
    document = is_problem(playground.call("POST", "runs", [1, 2]), 422, "invalid_input")
    assert document["message"] == "the JSON body is an array, and has to be an object"
    inside = is_problem(playground.call("POST", "runs", {"workflow": "w", "options": []}), 422, "invalid_input")
    assert inside["errors"] == [{"where": "options", "message": "Invalid input type."}]


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "cursor=!!", "cursor=WzFd", "status=lost"])
def test_a_wrong_query_is_refused(playground: Playground, query: str) -> None:
    is_problem(playground.call("GET", f"runs?{query}"), 422, "invalid_input")


def test_problems_of_the_services_keep_their_places(playground: Playground) -> None:
    playground.register(diamond())
    answer = playground.call("POST", "runs", {"workflow": "flow", "inputs": {"n": "three", "m": 1}})
    document = is_problem(answer, 422, "invalid_input")
    assert {problem["where"] for problem in document["errors"]} == {"n", "m"}  # type: ignore[attr-defined]


def test_an_unknown_workflow_is_a_404_that_says_what_to_do(playground: Playground) -> None:
    is_problem(playground.call("POST", "runs", {"workflow": "nothing"}), 404, "not_found")


def test_a_request_id_comes_back_and_a_strange_one_is_replaced(playground: Playground) -> None:
    assert playground.call("GET", "/api/v1/me", X_Request_ID="abc-1").headers["x-request-id"] == "abc-1"
    assert playground.call("GET", "/api/v1/me", X_Request_ID="a b" * 40).headers["x-request-id"] != "a b" * 40


def test_a_mistake_of_the_server_tells_the_request_and_not_the_reason(
    playground: Playground, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("the secret reason")

    monkeypatch.setattr("app.api.identity.principal", broken)
    with caplog.at_level(logging.ERROR):
        answer = playground.call("GET", "/api/v1/me")
    document = is_problem(answer, 500, "internal")
    assert "secret" not in answer.text
    assert str(document["request_id"]) in caplog.text


def test_an_error_is_a_page_for_people(playground: Playground) -> None:
    answer = playground.call("GET", "/projects/nowhere/runs")
    assert answer.status == 404
    assert "text/html" in answer.headers["content-type"]
    assert "nowhere" in answer.text


@pytest.fixture
def small(home: object, redis_url: str, tmp_path: object) -> Iterator[Playground]:
    config = playground_config(home, redis_url)  # type: ignore[arg-type]
    with serving(config, max_body_bytes=2_000, max_blob_bytes=10_000) as found:
        yield found


def test_a_json_body_past_its_limit_is_a_413(small: Playground) -> None:
    is_problem(small.call("POST", "runs", {"workflow": "x" * 3_000}), 413, "too_large")


def test_a_body_in_chunks_past_its_limit_is_a_413_too(small: Playground) -> None:
    sent = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    for path, text, status in (("runs", "x" * 3_000, 413), ("runs", "x" * 1_000, 404)):
        connection = small.connect()
        body = (json.dumps({"workflow": text}).encode(),)
        connection.request("POST", small.path(path), body=iter(body), headers=sent, encode_chunked=True)
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["code"]) == (
            status,
            "too_large" if status == 413 else "not_found",
        )
        connection.close()


def test_a_blob_past_its_limit_is_a_413_and_one_below_passes(small: Playground) -> None:
    is_problem(small.call("PUT", f"blobs/{'0' * 64}", data=b"x" * 20_000), 413, "too_large")
    is_problem(small.call("PUT", f"blobs/{'0' * 64}", data=b"x" * 9_000), 422, "invalid_input")


def test_redis_out_of_reach_is_a_503_that_may_be_tried_again(home: object, redis_url: str) -> None:
    config = playground_config(home, redis_url)  # type: ignore[arg-type]
    with serving(config) as playground:
        playground.register(diamond())
        run = playground.launch(inputs={"n": 1})
        playground.app.extensions["celesta.events"].redis = connect("unix:///nowhere")
        answer = playground.call("GET", f"runs/{run}/events")
        is_problem(answer, 503, "unavailable")
        assert "retry-after" in answer.headers
        assert playground.call("GET", "/readyz").status == 503
        assert playground.call("GET", f"runs/{run}?wait_seconds=5").status == 200


def test_half_a_request_leaves_the_server_well(playground: Playground) -> None:
    parts = urlsplit(playground.url)
    with socket.create_connection((parts.hostname, parts.port)) as client:  # type: ignore[arg-type]
        client.sendall(b"POST /api/v1/projects/default/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert json.loads(playground.call("GET", "/healthz").body)["status"] == "ok"


def cursor(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"artifacts/{'9' * 30}", 404, "unknown_path"),
        (f"artifacts?cursor={cursor(10**30)}", 422, "invalid_input"),
        (f"artifacts?cursor={base64.urlsafe_b64encode(b'[' * 3000).decode()}", 422, "invalid_input"),
        (f"workflows?cursor={cursor(chr(0))}", 422, "invalid_input"),
        (f"workflows?cursor={cursor(chr(0xD800))}", 422, "invalid_input"),
        ("runs/RUN/steps/%C2%B2", 404, "not_found"),
        (f"runs/RUN/steps/{'9' * 5000}", 404, "not_found"),
        ("runs/RUN/steps/0/log?token=%D9%A1.%D9%A1", 422, "invalid_input"),
    ],
)
def test_numbers_and_names_that_nothing_can_have_are_not_found_or_refused(
    playground: Playground, path: str, status: int, code: str
) -> None:
    playground.register(diamond())
    run = playground.launch(inputs={"n": 1})
    is_problem(playground.call("GET", path.replace("RUN", run)), status, code)


FAR = ("0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00", "2020-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("method", "path", "body", "where"),
    [
        ("PUT", "cache/limit", {"bytes": 10**30}, "bytes"),
        ("PUT", "cache/limit", {"bytes": -1}, "bytes"),
        ("POST", "cache/evict", {"larger_than_bytes": 10**30}, "larger_than_bytes"),
        ("POST", "models/m/versions", {"artifact": 10**30}, "artifact"),
        ("PUT", "limits/gpu", {"places": 10**30}, "places"),
        ("PUT", "weight", {"weight": 10**30}, "weight"),
        *(("POST", "tokens", {"name": "laptop", "expires_at": at}, "expires_at") for at in FAR),
        ("POST", "tokens", {"name": "lap\0top"}, "name"),
    ],
)
def test_numbers_and_moments_that_no_database_takes_are_refused_and_nothing_is_written(
    playground: Playground, method: str, path: str, body: dict[str, object], where: str
) -> None:
    answer = is_problem(playground.call(method, path, body), 422, "invalid_input")
    assert [problem["where"] for problem in answer["errors"]] == [where]  # type: ignore[attr-defined]
    assert playground.get("members")["items"] == []


def test_a_stream_takes_any_last_event_id(playground: Playground) -> None:
    playground.register(diamond())
    run = playground.launch(inputs={"n": 1})
    playground.finish(run, "succeeded", succeeded=4)
    for heard in (f"{'9' * 30}-0", "\xb2-0", "-"):
        with playground.events(f"runs/{run}/events", Last_Event_ID=heard) as frames:
            assert [frame["kind"] for frame in frames][-1] == "run.recorded"
