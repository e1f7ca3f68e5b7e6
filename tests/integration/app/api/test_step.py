"""What a step in a container may do with the token of its attempt, and what it may not."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from app.secret import secret_key
from app.services.step_access import grant
from celesta.codecs import encode
from celesta.errors import StoreError
from celesta.files import Directory, File
from celesta.hashing import digest_of
from celesta.runtime.call import blank_result
from celesta.store import prefix_of, step_prefix
from celesta.store.step import StepStore
from tests.fixtures.object_store import Bucket
from tests.fixtures.playground import Playground, playground_config, serving
from tests.unit.app.specs import diamond

ANY = {"kind": "any"}


@dataclass
class Pod:
    """A step that was launched: its document, its token, and the store that it sees."""

    playground: Playground
    document: dict[str, Any]
    token: str

    @property
    def prefix(self) -> str:
        return prefix_of(self.document)

    @property
    def store(self) -> StepStore:
        return StepStore(self.playground.url, lambda: self.token, self.prefix)

    def call(self, method: str, path: str, data: bytes | None = None) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"} | ({"Content_Type": "x/y"} if data is not None else {})
        return self.playground.call(method, f"/api/v1/step{path}", data=data, **headers)

    def result(self, **changes: Any) -> dict[str, Any]:
        outputs = {"result": self.playground.encode(5)}
        return blank_result(self.document, "pod:1") | {"status": "succeeded", "outputs": outputs} | changes


def launch(
    playground: Playground, run: str, node: str = "3", path: str = "a", token: str = "1.1", **inputs: Any
) -> Pod:
    document = {
        "run": run,
        "project": "default",
        "node": node,
        "path": path,
        "token": token,
        "bundle": playground.store.put_blob(b"the bundle"),
        "interface": {"inputs": [], "outputs": [{"name": "result", "type": {"kind": "int"}}]},
        "inputs": {name: encode(value, ANY, playground.store) for name, value in inputs.items()},
    }
    data = json.dumps(document).encode()
    playground.store.put(f"{step_prefix(run, path, token)}step.json", data)
    return Pod(playground, document, grant(secret_key(playground.config), document, data, 60.0))


@pytest.fixture
def run(playground: Playground) -> str:
    playground.register(diamond())
    run = playground.launch(inputs={"n": 3})
    playground.start(run)
    playground.run_step(run, "3", "a")
    return run


@pytest.fixture
def pod(playground: Playground, run: str, tmp_path: Path) -> Pod:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/inside.txt").write_text("inside")
    (tmp_path / "file.bin").write_bytes(b"f" * 100_000)
    long = [f"{number}" * 300 for number in range(40)]
    return launch(
        playground,
        run,
        text="t" * 5_000,
        file=File(tmp_path / "file.bin"),
        folder=Directory(tmp_path / "folder"),
        long=long,
        pair={"file": File(tmp_path / "file.bin"), "more": ["x" * 3_000]},
    )


# What it may do


def test_a_step_reads_its_document_its_bundle_and_its_inputs_at_any_depth(pod: Pod, tmp_path: Path) -> None:
    from celesta.codecs import decode

    store = pod.store
    assert store.document() == pod.document
    assert store.get_blob(pod.document["bundle"]) == b"the bundle"
    got = {name: decode(ref, ANY, store, tmp_path / "in") for name, ref in pod.document["inputs"].items()}
    assert got["text"] == "t" * 5_000
    assert got["file"].read_bytes() == b"f" * 100_000
    assert [path.read_text() for path in got["folder"].files()] == ["inside"]
    assert got["long"][39] == "39" * 300
    assert got["pair"]["file"].read_bytes() == b"f" * 100_000


def test_a_step_stores_values_its_log_and_its_result_once(pod: Pod, tmp_path: Path) -> None:
    store, server = pod.store, pod.playground.store
    (tmp_path / "model").write_bytes(b"weights")
    digest, size = store.put_blob_file(tmp_path / "model")
    assert (server.get_blob(digest), size) == (b"weights", 7)
    store.put(f"{pod.prefix}log.txt", b"one")
    store.put(f"{pod.prefix}log.txt", b"one two")
    assert server.get(f"{pod.prefix}log.txt") == b"one two"
    first, second = (json.dumps(pod.result(worker=worker)).encode() for worker in ("first", "second"))
    assert store.create(f"{pod.prefix}result.json", first) is True
    assert store.create(f"{pod.prefix}result.json", second) is False
    for kept in (store.get(f"{pod.prefix}result.json"), server.get(f"{pod.prefix}result.json")):
        assert json.loads(kept or b"")["worker"] == "first"
    with pytest.raises(StoreError, match="has its result already"):
        store.put(f"{pod.prefix}log.txt", b"late")


def test_a_fresh_token_is_given_while_the_attempt_runs(pod: Pod) -> None:
    store = pod.store
    time.sleep(1.1 - time.time() % 1)  # a token tells its time in whole seconds
    assert store.renewed() != pod.token
    assert store.document() == pod.document


def test_a_checkpoint_is_found_by_the_next_attempt(playground: Playground, run: str, pod: Pod) -> None:
    assert pod.call("GET", "/objects/checkpoint.tar").status == 404
    pod.store.put(f"{pod.prefix}checkpoint.tar", b"epoch 1")
    for number in (2, 11):
        later = launch(playground, run, token=f"1.{number}")
        assert later.call("GET", "/objects/checkpoint.tar").body == (b"epoch 1" if number == 2 else b"epoch 2")
        later.store.put(f"{later.prefix}checkpoint.tar", b"epoch 2")


def test_the_runtime_comes_as_a_package_that_runs_a_step(pod: Pod, tmp_path: Path) -> None:
    import io
    import zipfile

    names = zipfile.ZipFile(io.BytesIO(pod.call("GET", "/runtime").body)).namelist()
    assert {"celesta/__init__.py", "celesta/runtime/__main__.py", "celesta/store/step.py"} <= set(names)
    assert all(name.startswith("celesta/") and name.endswith(".py") for name in names)


# What it may not do


@pytest.mark.parametrize("what", ["another step's output", "another run's input", "nothing of anyone"])
def test_no_other_blob_can_be_read_nor_told_from_one_that_is_not_there(pod: Pod, what: str) -> None:
    digest = "0" * 64 if what == "nothing of anyone" else pod.playground.store.put_blob(what.encode())
    for method in ("GET", "HEAD"):
        assert pod.call(method, f"/blobs/{digest}").status == 403
    assert pod.store.has_blob(digest) is False


def test_a_result_that_names_bytes_which_the_step_neither_was_given_nor_put_is_refused(
    playground: Playground, run: str, tmp_path: Path
) -> None:
    (tmp_path / "theirs").write_bytes(b"another project's")
    theirs = encode(File(tmp_path / "theirs"), ANY, playground.store)
    playground.new_project("other")
    listing = json.dumps({"files": {"x": {"digest": theirs["blob"], "size": 17, "mode": 0o644}}}).encode()
    digest = digest_of(listing)
    folder = {"type": "directory", "digest": digest, "blob": digest, "size": 17}
    pod = launch(playground, run, given=File(tmp_path / "theirs"))
    pod.document["interface"]["outputs"][0]["type"] = ANY
    other = launch(playground, run, node="1", path="b")
    for each in (pod, other):
        each.document["interface"]["outputs"][0]["type"] = ANY
        data = json.dumps(each.document).encode()
        playground.store.put(f"{each.prefix}step.json", data)
        each.token = grant(secret_key(playground.config), each.document, data, 60.0)
    assert other.call("PUT", f"/blobs/{digest}", listing).status in (200, 201)
    for wrong in (theirs, folder):
        for name in ("outputs.json", "result.json"):
            result = json.dumps(other.result(outputs={"result": wrong})).encode()
            answer = other.call("PUT", f"/objects/{name}", result)
            assert answer.status == 422, answer.text
            assert theirs["blob"] in answer.text
    passed_on = json.dumps(pod.result(outputs={"result": theirs})).encode()
    assert pod.call("PUT", "/objects/result.json", passed_on).status == 201, "an input may be given on"


NO_FORM = [
    ("directory", b"no JSON"),
    ("directory", b"[]"),
    ("directory", b'{"files": [1]}'),
    ("directory", b"[" * 100_000),
    ("list", b"no JSON"),
    ("list", b'[{"type": "list", "digest": "", "size": 1, "length": 1, "blob": "x"}]'),
    ("dynamic", b"no JSON"),
    ("dynamic", b"[" * 100_000),
]


@pytest.mark.parametrize(("kind", "listing"), NO_FORM)
def test_a_result_that_names_a_blob_of_no_form_is_refused(
    playground: Playground, run: str, kind: str, listing: bytes
) -> None:
    pod = launch(playground, run)
    pod.document["interface"]["outputs"][0]["type"] = ANY
    pod.document["kind"] = "dynamic" if kind == "dynamic" else "python"
    data = json.dumps(pod.document).encode()
    playground.store.put(f"{pod.prefix}step.json", data)
    pod.token = grant(secret_key(playground.config), pod.document, data, 60.0)
    blob = digest_of(listing)
    assert pod.call("PUT", f"/blobs/{blob}", listing).status in (200, 201)
    ref = {"type": kind, "digest": blob, "size": 1, "blob": blob, "length": 1}
    changes = {"outputs": {}, "dynamic": blob} if kind == "dynamic" else {"outputs": {"result": ref}}
    answer = pod.call("PUT", "/objects/result.json", json.dumps(pod.result(**changes)).encode())
    assert (answer.status, "cannot be taken" in answer.text) == (422, True), answer.text


def test_the_objects_of_another_attempt_are_out_of_reach(playground: Playground, run: str, pod: Pod) -> None:
    other = launch(playground, run, node="1", path="b")
    playground.store.put(f"{other.prefix}log.txt", b"theirs")
    assert pod.call("GET", "/objects/log.txt").status == 404
    for name in (f"../../b/{other.document['token']}/log.txt", "..%2F..%2Fb%2F1.1%2Flog.txt", "step.json", "x"):
        assert pod.call("PUT", f"/objects/{name}", b"mine").status in (404, 405), name
    assert playground.store.get(f"{other.prefix}log.txt") == b"theirs"
    with pytest.raises(StoreError):
        pod.store.put(f"{other.prefix}log.txt", b"mine")


def test_a_result_for_another_step_or_of_another_form_is_refused(pod: Pod) -> None:
    wrong = [
        {"path": "b"},
        {"node": "1"},
        {"token": "1.2"},
        {"outputs": {}},
        {"outputs": {"result": {"type": "json"}}},
        {"outputs": {"result": pod.playground.encode("text")}},
        {"metrics": [{"name": "x", "value": "high", "step": None, "at_ms": 1}]},
        {"status": "failed"},
        {"error": {"type": "X", "message": "", "traceback": "", "kind": "user"}},
        {"timings": None},
        {"dynamic": "a" * 64},
    ]
    for changes in wrong:
        for name in ("result.json", "outputs.json"):
            answer = pod.call("PUT", f"/objects/{name}", json.dumps(pod.result(**changes)).encode())
            assert answer.status == 422, (changes, answer.text)
    assert pod.call("PUT", "/objects/result.json", b"{").status == 422
    assert pod.playground.store.get(f"{pod.prefix}result.json") is None


def test_bytes_of_another_digest_are_refused(pod: Pod) -> None:
    digest = digest_of(b"promised")
    assert pod.call("PUT", f"/blobs/{digest}", b"delivered").status == 422
    assert pod.playground.store.has_blob(digest) is False


def test_what_is_too_large_is_refused_before_it_is_read(playground: Playground, run: str) -> None:
    with serving(replace(playground.config, max_blob_bytes=10)) as small:
        pod = launch(small, run)
        assert pod.call("PUT", f"/blobs/{digest_of(b'x' * 11)}", b"x" * 11).status == 413
        assert pod.call("PUT", "/objects/log.txt", b"x" * 11).status == 413


def test_a_token_that_is_over_or_changed_is_refused(pod: Pod) -> None:
    data = pod.playground.store.get(f"{pod.prefix}step.json") or b""
    expired = grant(secret_key(pod.playground.config), pod.document, data, -1.0)
    foreign = grant("another deployment's key", pod.document, data, 60.0)
    body, _, signature = pod.token.rpartition(".")
    for token in (expired, foreign, f"{body}x.{signature}", body, "cst_", "cel_" + "0" * 64, ""):
        for method, path in (("GET", ""), ("PUT", "/objects/log.txt"), ("POST", "/token"), ("GET", "/runtime")):
            assert replace(pod, token=token).call(method, path, b"" if method == "PUT" else None).status == 401


def test_a_token_opens_nothing_else_of_the_api(pod: Pod) -> None:
    for path in ("/api/v1/me", "/api/v1/projects/default/runs", f"/api/v1/projects/default/blobs/{'0' * 64}"):
        assert pod.playground.call("GET", path, Authorization=f"Bearer {pod.token}").status == 401


def test_a_token_of_a_person_is_none_of_a_step(playground: Playground, pod: Pod) -> None:
    """Not even the operator's, who needs none."""
    assert playground.call("GET", "/api/v1/step").status == 401


def test_an_attempt_that_was_superseded_is_fenced_off(playground: Playground, run: str, pod: Pod) -> None:
    playground.run_step(run, "3", "a", token="1.2")
    for method, path in (("GET", ""), ("PUT", "/objects/log.txt"), ("PUT", "/objects/result.json"), ("POST", "/token")):
        assert pod.call(method, path, b"{}" if method == "PUT" else None).status == 403
    assert launch(playground, run, token="1.2").call("GET", "").status == 200


def test_an_attempt_that_ended_is_over(playground: Playground, run: str, pod: Pod) -> None:
    playground.settle(run, "3", "a", outputs={"result": 5})
    assert pod.call("GET", "").status == 403
    other = launch(playground, run, node="1", path="b")
    assert other.call("GET", "").status == 200
    playground.finish(run)
    assert other.call("GET", "").status == 403


def test_a_document_that_was_changed_after_the_launch_opens_nothing(pod: Pod) -> None:
    secret = pod.playground.store.put_blob(b"s" * 5_000)
    inputs = {"x": {"type": "file", "digest": secret, "blob": secret, "size": 5_000, "name": "x"}}
    pod.playground.store.put(f"{pod.prefix}step.json", json.dumps(pod.document | {"inputs": inputs}).encode())
    assert pod.call("GET", "").status == 404
    assert pod.call("GET", f"/blobs/{secret}").status == 404


# By links, where the store gives them


@pytest.fixture
def bucket_pod(redis_url: str, upgraded_sqlite: Path, s3: Bucket, home: Path) -> Iterator[Pod]:
    from shutil import copyfile

    copyfile(upgraded_sqlite, home / "celesta.db")
    config = replace(playground_config(home, redis_url), store_url=s3.store_url, s3_endpoint_url=s3.endpoint_url)
    with serving(config) as playground:
        playground.register(diamond())
        run = playground.launch(inputs={"n": 3})
        yield launch(playground, run, text="t" * 5_000)


def test_bytes_of_inputs_come_from_the_bucket_by_a_link_of_a_minute(bucket_pod: Pod, tmp_path: Path) -> None:
    ref = bucket_pod.document["inputs"]["text"]
    answer = bucket_pod.call("GET", f"/blobs/{ref['blob']}")
    assert answer.status == 307
    assert "X-Amz-Expires=60" in answer.headers["location"]
    assert bucket_pod.store.get_blob(ref["blob"]) == json.dumps("t" * 5_000).encode()


def test_where_the_bucket_is_out_of_reach_they_come_through_the_server(
    bucket_pod: Pod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celesta.store.s3.S3Store.link", lambda *_: "http://127.0.0.1:1/nobody?x=1")
    ref = bucket_pod.document["inputs"]["text"]
    bucket_pod.store.fetch_blob(ref["blob"], tmp_path / "text")
    assert (tmp_path / "text").read_bytes() == json.dumps("t" * 5_000).encode()


# Faults


class Flaky:
    """Stands before the server: answers 503, then breaks off in the middle of an answer, then passes everything on."""

    def __init__(self, wsgi: Any) -> None:
        self.wsgi, self.calls = wsgi, 0

    def __call__(self, environ: Any, start: Any) -> Any:
        self.calls += 1
        if self.calls == 1:
            start("503 Service Unavailable", [("Content-Length", "2")])
            return [b"{}"]
        if self.calls == 2:
            start("200 OK", [("Content-Length", "5002")])
            return [b'"tt']
        return self.wsgi(environ, start)


def test_a_server_that_fails_for_a_moment_is_asked_again(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celesta.store.step.PAUSES_SECONDS", (0.01,) * 4)
    flaky = Flaky(pod.playground.app.wsgi_app)
    monkeypatch.setattr(pod.playground.app, "wsgi_app", flaky)
    assert pod.store.get_blob(pod.document["inputs"]["text"]["blob"]) == json.dumps("t" * 5_000).encode()
    assert flaky.calls == 3


def test_a_server_that_stays_away_is_a_store_error_that_a_retry_may_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celesta.store.step.PAUSES_SECONDS", (0.01,))
    with pytest.raises(StoreError) as raised:
        StepStore("http://127.0.0.1:1", lambda: "cst_x").document()
    assert raised.value.retryable
