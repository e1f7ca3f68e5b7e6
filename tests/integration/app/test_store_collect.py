"""Garbage collection takes what nothing refers to, and nothing else, whatever goes on meanwhile."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import update

from app.db import db, writing
from app.models import Answer, Upload
from app.services import store_collect
from celesta.codecs import make_list
from celesta.codecs.values import reduced
from celesta.errors import InputError
from celesta.hashing import canonical, digest_of
from celesta.store.base import blob_key, result_key
from tests.fixtures.playground import OPERATOR, Playground
from tests.unit.app.specs import diamond, spec, step, task, value


@pytest.fixture
def flow(playground: Playground) -> Playground:
    spec = diamond(bundle=playground.store.put_blob(b"code"))
    constant = playground.encode("a constant " * 300)
    spec["tasks"]["d"]["interface"]["inputs"][2]["type"] = {"kind": "any"}
    spec["steps"][0]["inputs"]["z"] = {"value": constant}
    assert value(1)
    playground.register(spec)
    return playground


def age(flow: Playground, hours: float = 48) -> None:
    """All that is in the store was written that long ago, and put by somebody then."""
    then = time.time() - hours * 3600
    for key in flow.store.list(""):
        os.utime(f"{flow.store.root}/{key}", (then, then))  # type: ignore[attr-defined]
    with flow.app.app_context(), writing(db.session) as session:
        session.execute(update(Upload).values(at=datetime.fromtimestamp(then, UTC)))


def collect(flow: Playground, *, dry_run: bool = False) -> store_collect.Collected:
    with flow.app.app_context():
        return store_collect.collect(db.session, flow.store, dry_run=dry_run)


def settle(flow: Playground, run: str, ref: dict[str, Any]) -> None:
    told = {"node": "3", "path": "a", "token": "1.1", "attempt": 1, "state": "succeeded"}
    flow.tell(run, "step.settled", **told, outcome={"status": "succeeded", "outputs": {"result": ref}, "log_bytes": 0})


def folder(flow: Playground, name: str) -> tuple[dict[str, Any], list[str]]:
    """A directory of one file: its reference, and the blobs that it rests on."""
    inside = flow.store.put_blob(f"inside {name}".encode())
    listing = {"files": {"f": {"digest": inside, "size": 9, "mode": 0o644}}}
    digest = flow.store.put_blob(json.dumps(listing).encode())
    return {"type": "directory", "digest": digest, "size": 9, "blob": digest}, [digest, inside]


def test_what_is_referred_to_stays_and_the_rest_goes(flow: Playground) -> None:
    run = flow.launch(inputs={"n": 1})
    flow.start(run)
    ref, kept = folder(flow, "kept")
    settle(flow, run, ref)
    flow.finish(run)
    before = set(flow.store.list("blobs/"))
    garbage = [flow.store.put_blob(b"garbage"), *folder(flow, "garbage")[1]]
    age(flow)
    dry = collect(flow, dry_run=True)
    assert (dry.garbage, dry.deleted) == (3, 0)
    assert set(dry.examples) == set(garbage)
    assert set(flow.store.list("blobs/")) == before | {blob_key(digest) for digest in garbage}
    assert collect(flow).deleted == 3
    assert set(flow.store.list("blobs/")) == before
    assert all(flow.store.has_blob(digest) for digest in kept)
    assert collect(flow).garbage == 0
    assert flow.call("GET", f"/projects/default/runs/{run}").status == 200


def test_what_is_young_stays(flow: Playground) -> None:
    age(flow)
    digest = flow.store.put_blob(b"of a step that has not ended")
    found = collect(flow)
    assert (found.young, found.deleted) == (1, 0)
    assert flow.store.has_blob(digest)


@pytest.mark.parametrize("by", ["a step", "a client that asks whether it is there"])
def test_what_is_relied_on_again_becomes_young(flow: Playground, by: str) -> None:
    """It was there already, so it is not written again; but from now on somebody means to refer to it."""
    digest = flow.store.put_blob(b"same bytes")
    age(flow)
    if by == "a step":
        flow.store.put_blob(b"same bytes")
    else:
        flow.call("HEAD", f"blobs/{digest}")
    assert collect(flow).deleted == 0
    assert flow.store.has_blob(digest)


def test_a_manifest_that_is_not_recorded_yet_protects_what_it_names(flow: Playground) -> None:
    run = flow.launch(inputs={"n": 1})
    ref, kept = folder(flow, "not recorded")
    flow.store.create(result_key(run, "a", "1.1"), json.dumps({"outputs": {"result": ref}}).encode())
    age(flow)
    assert collect(flow).deleted == 0
    assert all(flow.store.has_blob(digest) for digest in kept)


def test_what_is_recorded_between_marking_and_deleting_stays(flow: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    run = flow.launch(inputs={"n": 1})
    flow.start(run)
    ref, kept = folder(flow, "late")
    age(flow)
    entries = type(flow.store).entries

    def look_and_settle(store: Any, prefix: str) -> Any:
        yield from entries(store, prefix)
        settle(flow, run, ref)

    monkeypatch.setattr(type(flow.store), "entries", look_and_settle)
    assert collect(flow).deleted == 0
    assert all(flow.store.has_blob(digest) for digest in kept)


def test_constants_stay_of_a_task_that_names_its_inputs_as_a_reference_does(playground: Playground) -> None:
    constant, kept = folder(playground, "constant")
    names = ("type", "digest", "size", "data")
    document = spec([task("f", names)], [step("f", inputs={name: value(1) for name in names[:3]})])
    document["tasks"]["f"]["interface"]["inputs"][3]["type"] = {"kind": "directory"}
    document["steps"][0]["inputs"]["data"] = {"value": constant}
    playground.register(document)
    age(playground)
    assert collect(playground).deleted == 0
    assert all(playground.store.has_blob(digest) for digest in kept)


def test_a_model_and_a_cache_entry_keep_their_values(flow: Playground) -> None:
    from app.models import Artifact, Project
    from app.services.model_register import register_model

    run = flow.launch(inputs={"n": 1})
    flow.start(run)
    ref, kept = folder(flow, "model")
    settle(flow, run, ref)
    flow.finish(run)
    with flow.app.app_context():
        project = db.session.query(Project).filter_by(name="default").one()
        artifact = db.session.query(Artifact).filter_by(run_id=run).one()
        register_model(db.session, flow.store, OPERATOR, project, "m", artifact)
    age(flow)
    assert collect(flow).deleted == 0
    assert all(flow.store.has_blob(digest) for digest in kept)


def test_a_grace_that_is_too_short_is_refused(flow: Playground) -> None:
    with flow.app.app_context(), pytest.raises(InputError, match="2 hours"):
        store_collect.collect(db.session, flow.store, grace_seconds=60)


def test_what_somebody_comes_to_rely_on_after_all_blobs_were_looked_through_stays(
    flow: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    relied_on, garbage = (flow.store.put_blob(data) for data in (b"relied on", b"garbage"))
    age(flow)
    garbage_of = store_collect._Marks.garbage

    def ask_and_look(marks: Any) -> Any:
        flow.call("HEAD", f"blobs/{relied_on}")
        yield from garbage_of(marks)

    monkeypatch.setattr(store_collect._Marks, "garbage", ask_and_look)
    assert collect(flow).deleted == 1
    assert flow.store.has_blob(relied_on)
    assert not flow.store.has_blob(garbage)


def test_a_file_with_the_bytes_of_a_listing_does_not_hide_the_folder(flow: Playground) -> None:
    run = flow.launch(inputs={"n": 1})
    flow.start(run)
    ref, kept = folder(flow, "listed")
    told = {"node": "1", "path": "b", "token": "1.1", "attempt": 1, "state": "succeeded"}
    file = ref | {"type": "file", "name": "listing.json"}
    flow.tell(run, "step.settled", **told, outcome={"status": "succeeded", "outputs": {"result": file}, "log_bytes": 0})
    settle(flow, run, ref)
    age(flow)
    assert collect(flow).deleted == 0
    assert all(flow.store.has_blob(digest) for digest in kept)


def test_a_forged_reference_to_a_listing_does_not_hide_the_folder(flow: Playground) -> None:
    run = flow.launch(inputs={"n": 1})
    flow.start(run)
    ref, kept = folder(flow, "listed")
    settle(flow, run, ref | {"inline": []})
    with flow.app.app_context(), writing(db.session) as session:
        session.add(Answer(run_id=run, node="3", path="a", value=ref, answered_by="somebody"))
    age(flow)
    assert collect(flow).deleted == 0
    assert all(flow.store.has_blob(digest) for digest in kept)


def test_json_that_passes_for_plain_does_not_hide_what_it_names(flow: Playground) -> None:
    run = flow.launch(inputs={"n": 1})
    flow.start(run)
    inside = flow.store.put_blob(b"inside")
    tagged = {"d": [["file", {"ref": {"type": "file", "digest": inside, "blob": inside, "size": 6, "name": "x"}}]]}
    blob = flow.store.put_blob(canonical(tagged))
    settle(flow, run, {"type": "json", "digest": blob, "blob": blob, "size": 1})
    honest = {"type": "json", "digest": digest_of(canonical(reduced(tagged))), "blob": blob, "size": 1}
    with flow.app.app_context(), writing(db.session) as session:
        session.add(Answer(run_id=run, node="3", path="a", value=honest, answered_by="somebody"))
    age(flow)
    assert collect(flow).deleted == 0
    assert flow.store.has_blob(inside)


def test_a_forged_reference_to_a_list_does_not_hide_its_items(flow: Playground) -> None:
    run = flow.launch(inputs={"n": 1})
    flow.start(run)
    inside = [flow.store.put_blob(b"inside %d" % number) for number in range(20)]
    ref = make_list([{"type": "file", "digest": d, "blob": d, "size": 8, "name": "x"} for d in inside], flow.store)
    settle(flow, run, ref | {"items": []})
    with flow.app.app_context(), writing(db.session) as session:
        session.add(Answer(run_id=run, node="3", path="a", value=ref, answered_by="somebody"))
    age(flow)
    assert collect(flow).deleted == 0
    assert all(flow.store.has_blob(digest) for digest in inside)


def test_an_answer_keeps_its_value(flow: Playground) -> None:
    run = flow.launch(inputs={"n": 1})
    ref, kept = folder(flow, "answer")
    with flow.app.app_context(), writing(db.session) as session:
        session.add(Answer(run_id=run, node="3", path="a", value=ref, answered_by="somebody"))
    age(flow)
    assert collect(flow).deleted == 0
    assert all(flow.store.has_blob(digest) for digest in kept)


@pytest.mark.parametrize(
    "forged",
    [
        {"type": "file", "digest": "../../etc/passwd", "size": 1, "blob": "../../etc/passwd"},
        {"type": "directory", "digest": "x", "size": 1, "blob": "../x"},
        {"type": "list", "digest": "x", "size": 1, "length": 2, "items": [1, None]},
        {"type": "json", "digest": "x", "size": 1, "inline": {"ref": 7}},
    ],
)
def test_a_row_of_no_form_is_passed_over_and_told(flow: Playground, forged: dict[str, Any]) -> None:
    run = flow.launch(inputs={"n": 1})
    flow.start(run)
    ref, kept = folder(flow, "kept")
    settle(flow, run, ref)
    with flow.app.app_context(), writing(db.session) as session:
        session.add(Answer(run_id=run, node="3", path="a", value=forged, answered_by="somebody"))
    garbage = flow.store.put_blob(b"garbage")
    age(flow)
    found = collect(flow)
    assert found.deleted == 1
    assert not flow.store.has_blob(garbage)
    assert all(flow.store.has_blob(digest) for digest in kept)
    assert bool(found.unreadable) == (forged["type"] != "file")


def test_an_upload_is_forgotten_with_its_bytes(flow: Playground) -> None:
    digest = digest_of(b"uploaded")
    flow.call("PUT", f"blobs/{digest}", data=b"uploaded")
    age(flow)
    assert collect(flow).deleted == 1
    with flow.app.app_context():
        assert db.session.query(Upload).count() == 0
    assert flow.call("HEAD", f"blobs/{digest}").status == 404
    assert flow.call("PUT", f"blobs/{digest}", data=b"uploaded").status == 201


def test_what_is_put_again_after_it_was_deleted_stays_with_who_put_it(
    flow: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = [upload(flow, text) for text in (b"one", b"two")]
    age(flow)
    garbage_of = store_collect._Marks.garbage

    def look_and_put_again(marks: Any) -> Any:
        for digest, size in garbage_of(marks):
            yield digest, size
            assert not flow.store.has_blob(digest)
            upload(flow, b"one" if digest == digests[0] else b"two")

    monkeypatch.setattr(store_collect._Marks, "garbage", look_and_put_again)
    assert collect(flow).deleted == 2
    assert all(flow.store.has_blob(digest) for digest in digests)
    with flow.app.app_context():
        assert {row.digest for row in db.session.query(Upload)} == set(digests)


def test_uploads_are_forgotten_while_blobs_are_deleted(flow: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in (b"one", b"two", b"three"):
        upload(flow, text)
    age(flow)
    garbage_of, left = store_collect._Marks.garbage, []

    def look_and_count(marks: Any) -> Any:
        for found in garbage_of(marks):
            with flow.app.app_context():
                left.append(db.session.query(Upload).count())
            yield found

    monkeypatch.setattr(store_collect._Marks, "garbage", look_and_count)
    monkeypatch.setattr(store_collect, "FETCHED", 1)
    assert collect(flow).deleted == 3
    assert left == [3, 2, 1]


def upload(flow: Playground, data: bytes) -> str:
    digest = digest_of(data)
    assert flow.call("PUT", f"blobs/{digest}", data=data).status in (200, 201)
    return digest
