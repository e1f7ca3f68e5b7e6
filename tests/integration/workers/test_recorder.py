"""The recorder over a real Redis and both databases: what the stream says is in the database, once, whatever dies."""

import json
from contextlib import ExitStack
from datetime import timedelta

import pytest
import redis
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from app.db import db, standalone, writing
from app.models import Run, StreamOffset
from app.redis_names import meta
from celesta.errors import StoreError
from celesta.store.base import result_key
from tests.fixtures.growth import growth
from tests.integration.workers.conftest import (
    STEPS,
    STREAM,
    kinds_in,
    launcher,
    send,
    states_of,
    status_of,
    turn,
    whole_run,
)
from tests.unit.app.specs import wide
from workers import recorder
from workers.event_stream import KEPT_MS
from workers.recorder import OtherRecorderError, Recorder


def test_a_run_is_recorded_then_announced_then_forgotten(client, new_run, make, forgotten):
    run = new_run()
    send(client, *whole_run(run))
    turn(make())
    assert status_of(run.run) == "succeeded"
    assert set(states_of(run.run).values()) == {"succeeded"}
    (last,) = client.xrevrange(STREAM, count=1)
    told = json.loads(last[1][b"e"])
    assert (told["kind"], told["run"], told["project"], told["status"]) == (
        "run.recorded",
        run.run,
        "default",
        "succeeded",
    )
    assert forgotten == [run.run]


def test_its_own_announcements_are_read_and_passed_by(client, new_run, make, forgotten):
    run, one = new_run(), make()
    send(client, *whole_run(run))
    for _ in range(3):
        turn(one)
    assert kinds_in(client).count("run.recorded") == 1
    assert forgotten == [run.run]


def test_a_recorder_goes_on_where_the_last_one_was(client, new_run, make):
    run = new_run()
    events = whole_run(run)
    send(client, *events[:9])
    turn(make())
    send(client, *events[9:])
    one = make()
    seen = []
    read = one.streams.read
    one.streams.read = lambda block: [seen.append(found := read(block)), found][1]
    turn(one)
    assert sum(len(entries) for found in seen for entries in found.values()) == len(events) - 9
    assert status_of(run.run) == "succeeded"


def test_results_are_flushed_before_they_are_recorded(client, new_run, make, monkeypatch):
    run, one = new_run(), make()
    send(client, run.started(), run.running("0"), run.settled("0"))
    wanted = [result_key(run.run, "t#1", "1.1")]
    flushed = []

    def refuse(keys):
        flushed.append(list(keys))
        raise StoreError("the store does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(one.store, "flush", refuse)
        with pytest.raises(StoreError):
            turn(one)
    assert flushed == [wanted]
    assert states_of(run.run) == {}
    one.reopen()
    turn(one)
    assert states_of(run.run) == {"0": "succeeded"}


def test_rows_and_offset_are_one_commit(client, new_run, make, monkeypatch):
    run, one = new_run(), make()
    send(client, run.started(), run.settled("0"))

    def fail(*_):
        raise OperationalError("commit", {}, Exception("gone"))

    with monkeypatch.context() as patch:
        patch.setattr(recorder, "record_events", fail)
        with pytest.raises(OperationalError):
            turn(one)
    db.session.rollback()
    assert db.session.scalar(select(func.count()).select_from(StreamOffset)) == 0
    one.reopen()
    turn(one)
    assert states_of(run.run) == {"0": "succeeded"}


def test_an_end_whose_announcement_failed_is_announced_later(client, new_run, make, forgotten):
    run, one = new_run(), make()
    send(client, *whole_run(run))
    announce = one.streams.announce

    def fail(*_):
        raise redis.ConnectionError

    one.streams.announce = fail
    with pytest.raises(redis.ConnectionError):
        turn(one)
    assert status_of(run.run) == "succeeded"
    one.streams.announce = announce
    one.reopen()
    turn(one)
    assert "run.recorded" in kinds_in(client)
    assert run.run in forgotten


def test_a_recorder_that_died_after_the_commit_has_its_ends_announced_by_the_next(client, new_run, make, forgotten):
    run, one = new_run(), make()
    send(client, *whole_run(run))
    one._tell = lambda: None
    turn(one)
    assert "run.recorded" not in kinds_in(client)
    for still_known in (run, new_run()):
        client.hset(meta(still_known.run), "epoch", 1)
    with writing(db.session) as session:
        session.get(Run, run.run).recorded_at -= timedelta(hours=1)
    turn(make())
    assert "run.recorded" in kinds_in(client)
    assert forgotten == [run.run]


def test_a_run_that_a_late_start_brought_back_is_forgotten_again(client, new_run, make, forgotten):
    run, one = new_run(), make()
    send(client, *whole_run(run))
    turn(one)
    client.hset(meta(run.run), "epoch", 1)
    turn(one)
    assert forgotten == [run.run]
    one.untold_at = one.upkeep_at = 0.0
    turn(one)
    assert forgotten == [run.run, run.run]


def test_two_recorders_do_no_harm(client, new_run, make):
    run = new_run()
    events = whole_run(run)
    first, second = make(), make()
    send(client, *events[:5])
    turn(first)
    turn(second)
    send(client, *events[5:])
    turn(first)
    with pytest.raises(OtherRecorderError):
        turn(second)
    second.reopen()
    turn(second)
    assert status_of(run.run) == "succeeded"
    assert len(states_of(run.run)) == STEPS


def test_another_redis_is_read_from_its_beginning(client, new_run, make):
    one, run, other = make(), new_run(), new_run()
    send(client, *whole_run(run))
    turn(one)
    client.flushall()
    client.xadd(STREAM, {"e": json.dumps(other.started())}, id="1-1")
    one.upkeep_at = 0.0
    turn(one)
    turn(one)
    assert status_of(other.run) == "running"


def test_a_redis_that_is_back_from_an_older_state_is_read_from_its_beginning(client, new_run, make):
    run, other = new_run(), new_run()
    send(client, *whole_run(run))
    turn(make())
    gen = client.get("celesta:gen")
    client.flushall()
    client.set("celesta:gen", gen)
    client.xadd(STREAM, {"e": json.dumps(other.started())}, id="5-1")
    turn(make())
    assert status_of(other.run) == "running"
    assert status_of(run.run) == "succeeded"


def test_an_event_that_the_database_refuses_is_left_out_alone(client, new_run, make, caplog):
    run = new_run()
    bad = run.settled("1")
    bad["outcome"]["outputs"] = {"result": {"type": "json", "digest": None, "size": 1}}
    huge = run.settled("2")
    huge["outcome"]["log_bytes"] = 2**80
    send(client, run.started(), run.settled("0"), bad, b"no json", huge, run.settled("3"))
    turn(make())
    assert states_of(run.run) == {"0": "succeeded", "3": "succeeded"}
    assert caplog.text.count("the database refuses an event") == 2
    assert "no JSON" in caplog.text


def test_what_is_recorded_is_trimmed_after_a_while(client, new_run, make):
    run, one = new_run(), make()
    for moment in range(1, 1001):
        client.xadd(STREAM, {"e": "{}"}, id=f"{moment}-0")
    client.xadd(STREAM, {"e": json.dumps(run.started())}, id=f"{KEPT_MS + 900}-0")
    turn(one)
    assert 100 <= client.xlen(STREAM) <= 300
    assert client.xrange(STREAM, f"{KEPT_MS + 900}-0")


def test_what_a_cached_step_costs_to_record_does_not_grow_with_their_number(settings, client):
    def recording(size):
        run = launcher(settings, wide(size) | {"name": f"wide_{size}"})()
        run.started(size)
        for node in range(size):
            run.settled(str(node), "cached", cache_key=f"{node:064}", components={"v": 1, "inputs": {"x": "0" * 64}})
        run.finished(total=size, cached=size)
        send(client, *run.events)
        forgotten = []
        one = Recorder(settings, forgotten.append)
        closing.callback(one.close)

        def record():
            while run.run not in forgotten:
                turn(one)
            assert len(states_of(run.run)) == size

        return record

    with standalone(settings), ExitStack() as closing:
        assert growth(recording, 500, 5_000) < 4
