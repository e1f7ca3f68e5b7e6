"""A run as a file: whole elsewhere, and refused when it was changed, cut off, or leads out of its folder."""

from __future__ import annotations

import io
import json
import os
import threading
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from app.db import db
from app.models import Artifact, Audit, Run, Step, Version
from app.services import run_archive, run_import
from celesta.hashing import digest_of
from celesta.store.base import KEPT_SECONDS
from tests.fixtures.playground import Answer, Playground, playground_config, serving
from tests.fixtures.processes import SOON_SECONDS, wait_until
from tests.unit.app.specs import diamond

PLACES = {"a": "3", "b": "1", "c": "2", "d": "0"}


@pytest.fixture
def flow(playground: Playground) -> Playground:
    playground.new_project("elsewhere")
    bundle = playground.store.put_blob(b"the code")
    playground.register(diamond(bundle=bundle))
    return playground


@pytest.fixture
def run(flow: Playground) -> str:
    """`b` made a file, `c` was answered by an earlier run, the others made numbers."""
    earlier = flow.launch(inputs={"n": 1})
    flow.start(earlier)
    loss = [{"name": "loss", "value": 0.5, "step": 1, "at_ms": 1}]
    flow.settle(earlier, "2", "c", outputs={"result": 6}, log="of the earlier run\n", metrics=loss)
    flow.finish(earlier)
    run = flow.launch(inputs={"n": 1})
    flow.start(run)
    flow.settle(run, "3", "a", outputs={"result": 5}, log="hello\n", report="<h1>hi</h1>", metrics=loss)
    digest = flow.store.put_blob(b"model bytes")
    ref = {"type": "file", "digest": digest, "size": 11, "blob": digest, "name": "m.bin"}
    told = {"node": "1", "path": "b", "token": "1.1", "attempt": 1, "state": "succeeded"}
    inputs = {"x": flow.encode(5)["digest"]}
    outcome = {"status": "succeeded", "outputs": {"result": ref}, "input_digests": inputs, "log_bytes": 0}
    flow.tell(run, "step.settled", **told, outcome=outcome, input_digests=inputs)
    source = {"run": earlier, "node": "2", "path": "c", "token": "1.1"}
    flow.settle(run, "2", "c", "cached", outputs={"result": 6}, source=source, cache_key="k")
    flow.settle(run, "0", "d", outputs={"result": 7})
    flow.finish(run, outputs={"result": 7}, succeeded=3, cached=1)
    return run


@pytest.fixture
def archive(flow: Playground, run: str) -> bytes:
    answer = flow.call("GET", f"runs/{run}/export")
    assert answer.status == 200, answer.text
    return answer.body


def send(flow: Playground, archive: bytes, project: str = "elsewhere") -> Answer:
    path = f"/api/v1/projects/{project}/runs/import"
    return flow.call("POST", path, data=archive, Content_Type="application/zip")


def test_an_archive_is_an_ro_crate_that_names_workflow_agent_and_values(archive: bytes, run: str) -> None:
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        crate = json.loads(file.read("ro-crate-metadata.json"))
        names = set(file.namelist())
        entities = {entity["@id"]: entity for entity in crate["@graph"]}
        for name in names - {"ro-crate-metadata.json"}:
            assert entities[name]["sha256"] == digest_of(file.read(name))
    assert entities["ro-crate-metadata.json"]["conformsTo"] == [{"@id": "https://w3id.org/ro/crate/1.1"}]
    assert entities["#run"]["instrument"] == {"@id": "spec.json"}
    assert entities["#run"]["actionStatus"] == {"@id": "http://schema.org/CompletedActionStatus"}
    assert entities["#input/n"]["value"] == 1
    assert "ComputationalWorkflow" in entities["spec.json"]["@type"]
    assert {"run.json", "spec.json", "code.zip", "manifests/a/1.1/log.txt", "manifests/c/1.1/log.txt"} <= names


def test_an_imported_run_is_whole_elsewhere(flow: Playground, run: str, archive: bytes) -> None:
    """The store is emptied in between, so that all of it has to come from the archive."""
    for key in list(flow.store.list("")):
        flow.store.delete(key)
    answer = send(flow, archive)
    assert answer.status == 201, answer.text
    made = answer.json
    assert made["origin"] == {"run_id": run, "kind": "import"}
    assert (made["status"], made["outputs"], made["inputs"]) == ("succeeded", {"result": 7}, {"n": 1})
    assert (made["steps"]["succeeded"], made["steps"]["cached"]) == (3, 1)
    base = f"/api/v1/projects/elsewhere/runs/{made['run_id']}"
    steps = {step["path"]: step for step in flow.get(f"{base}/steps")["items"]}
    assert [steps[path]["state"] for path in "abcd"] == ["succeeded", "succeeded", "cached", "succeeded"]
    assert [steps[path]["metrics"][0]["value"] for path in "ac"] == [0.5, 0.5]
    assert flow.call("GET", f"{base}/steps/a/log").text == "hello\n"
    assert flow.call("GET", f"{base}/steps/c/log").text == "of the earlier run\n"
    assert flow.call("GET", f"{base}/steps/a/report").status == 200
    (model,) = [a for a in flow.get("/api/v1/projects/elsewhere/artifacts")["items"] if a["path"] == "b"]
    content = flow.call("GET", f"/api/v1/projects/elsewhere/artifacts/{model['id']}/content")
    assert content.body == b"model bytes"
    lineage = flow.get(f"/api/v1/projects/elsewhere/artifacts/{model['id']}/lineage")
    assert [step["path"] for step in lineage["steps"]] == ["b", "a"]
    assert flow.get("/api/v1/projects/elsewhere/workflows/flow")["version"] == made["version"]
    assert flow.call("GET", f"/projects/elsewhere/runs/{made['run_id']}").status == 200
    again = flow.call("GET", f"{base}/export")
    assert again.status == 200


def test_an_archive_that_is_imported_again_is_the_same_run(flow: Playground, archive: bytes) -> None:
    runs = {send(flow, archive).json["run_id"] for _ in range(2)}
    assert len(runs) == 1
    with flow.app.app_context():
        assert db.session.query(Audit).filter_by(action="run.import").count() == 1


def test_two_runs_of_one_version_are_imported_at_once(
    flow: Playground, run: str, home: Path, redis_url: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second adds the version while the first has added it and not yet committed."""
    other = flow.launch(inputs={"n": 2})
    flow.finish(other, outputs={"result": 7})
    archives = [flow.call("GET", f"runs/{each}/export").body for each in (run, other)]
    is_added, added = threading.Event(), run_import.added
    engine = create_engine(postgres_url)

    def somebody_waits() -> bool:
        with engine.connect() as connection:
            return bool(connection.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))

    def slowly(*arguments: Any, **more: Any) -> Any:
        made = added(*arguments, **more)
        if not is_added.is_set():
            is_added.set()
            wait_until(somebody_waits, what="the second import")
        return made

    with serving(playground_config(home, redis_url, postgres_url)) as there, ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(run_import, "added", slowly)
        first = pool.submit(send, there, archives[0], "default")
        assert is_added.wait(SOON_SECONDS)
        second = send(there, archives[1], "default")
        assert (first.result().status, second.status) == (201, 201), second.text
        made = {answer.json["run_id"] for answer in (first.result(), second)}
        assert {item["run_id"] for item in there.get("runs")["items"]} == made
        assert len(there.get("workflows/flow/versions")["items"]) == 1
    engine.dispose()


def test_an_imported_run_is_exported_and_reproduced_like_any_other(flow: Playground, archive: bytes) -> None:
    made = send(flow, archive).json["run_id"]
    assert flow.call("GET", f"/api/v1/projects/elsewhere/runs/{made}/export").status == 200
    answer = flow.call("POST", f"/api/v1/projects/elsewhere/runs/{made}/reproduce", {})
    assert answer.status == 201, answer.text


def test_a_run_that_goes_on_is_not_exported(flow: Playground) -> None:
    assert flow.call("GET", f"runs/{flow.launch(inputs={'n': 1})}/export").status == 409


def rewritten(archive: bytes, change: Callable[[dict[str, bytes]], Any], relist: bool = False) -> bytes:
    """The archive with other files; with `relist` its metadata lists what is there now, as a careful forger would."""
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        files = {name: file.read(name) for name in file.namelist()}
    change(files)
    if relist:
        entities = [{"@id": name, "sha256": digest_of(data)} for name, data in files.items() if "ro-crate" not in name]
        files["ro-crate-metadata.json"] = json.dumps({"@graph": entities}).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, data in files.items():
            file.writestr(name, data)
    return out.getvalue()


def edited(name: str, *place: str | int, value: Any) -> Callable[[dict[str, bytes]], None]:
    def change(files: dict[str, bytes]) -> None:
        document = json.loads(files[name])
        inner = document
        for part in place[:-1]:
            inner = inner[part]
        inner[place[-1]] = value
        files[name] = json.dumps(document).encode()

    return change


def add(name: str) -> Callable[[dict[str, bytes]], Any]:
    return lambda files: files.update({name: b"x"})


def drop(part: str) -> Callable[[dict[str, bytes]], Any]:
    return lambda files: [files.pop(name) for name in list(files) if part in name]


def twice(files: dict[str, bytes]) -> None:
    steps = json.loads(files["run.json"])["steps"]
    edited("run.json", "steps", value=steps * 2)(files)


def counts(flow: Playground) -> tuple[int, ...]:
    with flow.app.app_context():
        return (
            *(db.session.query(model).count() for model in (Run, Step, Artifact, Version)),
            len(list(flow.store.list(""))),
        )


CHANGES = {
    "a value": (lambda files: files.update({n: b"other" for n in files if n.startswith("blobs/")}), False, "changed"),
    "the record": (edited("run.json", "run", "outputs", value={}), False, "changed"),
    "a file that is not listed": (add("manifests/z/1.1/log.txt"), False, "not listed"),
    "a missing value": (drop("blobs/"), False, "not in the archive"),
    "a missing value, relisted": (drop("blobs/"), True, "is not in the store"),
    "the spec": (edited("spec.json", "name", value="other"), True, "not the version that the record names"),
    "the code": (lambda files: files.update({"code.zip": b"evil"}), True, "not the code that the spec names"),
    "a state": (edited("run.json", "steps", 0, "state", value="fine"), True, "steps[0].state"),
    "a status": (edited("run.json", "run", "status", value="running"), True, "run.status"),
    "no end": (edited("run.json", "run", "recorded_at", value=None), True, "run.recorded_at"),
    "a token": (edited("run.json", "steps", 0, "token", value="1.1/../2.1"), True, "steps[0].token"),
    "a plan": (edited("run.json", "steps", 0, "plan", value="none"), True, "steps[0].plan"),
    "a type": (edited("run.json", "steps", 0, "position", value="0"), True, "wants a int"),
    "a moment": (edited("run.json", "run", "created_at", value="0001-01-01T00:00:00+05:00"), True, "no moment"),
    "a number": (edited("run.json", "steps", 0, "outputs", value=float("nan")), True, "no JSON"),
    "a large number": (edited("run.json", "steps", 0, "log_bytes", value=10**30), True, "too large"),
    "an artifact": (edited("run.json", "artifacts", 0, "digest", value="0" * 64), True, "says something else"),
    "an output": (edited("run.json", "run", "outputs", "result", "digest", value="0" * 64), True, "run.outputs.result"),
    "a row twice": (twice, True, "contradict"),
    "the format": (edited("run.json", "celesta_run", value=9), True, "format 9"),
    "the metadata": (lambda files: files.update({"ro-crate-metadata.json": b"{"}), False, "no JSON"),
    "a path up": (add("../evil.txt"), False, "leads out of the folder"),
    "a path inside up": (add("manifests/../../evil"), False, "leads out of the folder"),
    "a path from the root": (add("/etc/evil"), False, "leads out of the folder"),
    "a drive": (add("C:\\evil"), False, "leads out of the folder"),
    "a strange file": (add("evil.sh"), False, "no file of an exported run"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_an_archive_that_was_changed_is_refused_and_nothing_is_written(
    flow: Playground, archive: bytes, name: str
) -> None:
    change, relist, told = CHANGES[name]
    before = counts(flow)
    answer = send(flow, rewritten(archive, change, relist))  # type: ignore[arg-type]
    assert answer.status == 422, answer.text
    assert told in answer.text
    after = counts(flow)
    assert after[:3] == before[:3]
    assert after == before or name == "a row twice"  # its values and version are there: only the rows were refused


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_an_archive_that_is_cut_off_is_refused(flow: Playground, archive: bytes, share: float) -> None:
    before = counts(flow)
    answer = send(flow, archive[: int(len(archive) * share)])
    assert answer.status == 422
    assert "not all of one" in answer.text
    assert counts(flow) == before


def test_an_archive_that_would_swell_is_refused_before_it_is_unpacked(flow: Playground) -> None:
    out = io.BytesIO()
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file,
        file.open("run.json", "w", force_zip64=True) as stream,
    ):
        for _ in range(300):
            stream.write(b" " * (1 << 20))
    answer = send(flow, out.getvalue())
    assert answer.status == 422
    assert "that is refused" in answer.text


def test_a_link_and_a_name_that_comes_twice_are_refused(flow: Playground, archive: bytes) -> None:
    out = io.BytesIO(archive)
    with zipfile.ZipFile(out, "a") as file:
        link = zipfile.ZipInfo("blobs/sha256/aa/" + "a" * 64)
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/passwd")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("run.json", "{}")
    answer = send(flow, out.getvalue())
    assert answer.status == 422
    assert "is a link" in answer.text
    assert "is in it twice" in answer.text


def test_what_has_to_be_read_at_once_is_refused_when_it_is_too_large(
    flow: Playground, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_archive, "MOST_AT_ONCE_BYTES", 50_000)
    before = counts(flow)
    large = rewritten(archive, lambda files: files.update({"code.zip": b"x" * 60_000}), relist=True)
    answer = send(flow, large)
    assert answer.status == 422
    assert "code.zip" in answer.text
    assert "has more than 50,000 bytes" in answer.text
    assert counts(flow) == before


def test_a_value_that_an_import_relies_on_counts_as_written_now(flow: Playground, archive: bytes) -> None:
    """Nothing else may refer to it any more: garbage collection has to leave it until the run is recorded."""
    then = time.time() - 10 * KEPT_SECONDS
    blobs = [f"{flow.store.root}/{key}" for key in flow.store.list("blobs/")]  # type: ignore[attr-defined]
    for path in blobs:
        os.utime(path, (then, then))
    assert send(flow, archive).status == 201
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        kept = [name for name in file.namelist() if name.startswith("blobs/")]
    assert kept
    for name in kept:
        assert Path(f"{flow.store.root}/{name}").stat().st_mtime > then + KEPT_SECONDS  # type: ignore[attr-defined]
