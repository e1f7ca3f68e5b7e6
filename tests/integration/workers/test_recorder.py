"""The recorder over a real Redis and both databases: what the stream says is in the database, once, whatever dies."""

import json
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
import redis
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from app.access import Principal
from app.db import db, standalone, writing
from app.models import Project, Run, Step, StreamOffset
from app.redis_names import events, meta
from app.services.run_launch import launch_run
from app.services.version_register import register_version
from app.stores import store_of
from celesta.errors import StoreError
from celesta.store.base import result_key
from tests.fixtures.growth import growth
from tests.fixtures.processes import SOON_SECONDS
from tests.integration.app.conftest import config, context  # noqa: F401
from tests.integration.app.events import Emitter
from tests.unit.app.specs import spec, step, task, value, wide
from workers import recorder
from workers.event_stream import KEPT_MS
from workers.recorder import OtherRecorderError, Recorder

ROOT = Principal.operator("root")
STREAM = events("p0")
STEPS = 12


@pytest.fixture
def settings(context, redis_url):  # noqa: F811
    settings = replace(context, redis_url=redis_url, broker_url="memory://")
    yield settings
    with standalone(settings):
        db.engine.dispose()


@pytest.fixture
def client(settings):
    with redis.Redis.from_url(settings.redis_url, protocol=2) as client:
        yield client


@pytest.fixture
def new_run(settings):
    steps = [step(f"t#{number + 1}", "t", inputs={"x": value(number)}) for number in range(STEPS)]
    return _launcher(settings, spec([task("t")], steps))


def _launcher(settings, document):
    store = store_of(settings)
    project = db.session.scalars(select(Project)).one()
    register_version(db.session, store, ROOT, project, document)

    def launch():
        run = launch_run(db.session, settings, store, ROOT, project, workflow=document["name"])
        return Emitter(run.id)

    return launch


@pytest.fixture
def forgotten():
    return []


@pytest.fixture
def make(settings, forgotten):
    made = []

    def make():
        one = Recorder(settings, forgotten.append)
        one.streams.read = _impatient(one.streams.read)
        made.append(one)
        return one

    yield make
    for one in made:
        one.client.close()


def _impatient(read):
    """Tests do not wait for events that do not come."""
    return lambda block_ms: read(1 if block_ms else None)


def _send(client, *events):
    pipe = client.pipeline()
    for event in events:
        pipe.xadd(STREAM, {"e": event if isinstance(event, bytes | str) else json.dumps(event)})
    pipe.execute()


def _turn(one):
    one.turn(threading.Event())


def _status(run_id):
    db.session.rollback()
    return db.session.scalar(select(Run.status).where(Run.id == run_id))


def _states(run_id):
    db.session.rollback()
    rows = db.session.execute(select(Step.node, Step.state).where(Step.run_id == run_id))
    return {node: state for node, state in rows}  # noqa: C416


def _kinds(client):
    return [json.loads(fields[b"e"])["kind"] for _, fields in client.xrange(STREAM)]


def _whole(emitter):
    emitter.started(STEPS)
    for node in range(STEPS):
        emitter.running(str(node))
        emitter.settled(str(node))
    emitter.finished(total=STEPS, succeeded=STEPS)
    return emitter.events


def test_a_run_is_recorded_then_announced_then_forgotten(client, new_run, make, forgotten):
    run = new_run()
    _send(client, *_whole(run))
    _turn(make())
    assert _status(run.run) == "succeeded"
    assert set(_states(run.run).values()) == {"succeeded"}
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
    _send(client, *_whole(run))
    for _ in range(3):
        _turn(one)
    assert _kinds(client).count("run.recorded") == 1
    assert forgotten == [run.run]


def test_a_recorder_goes_on_where_the_last_one_was(client, new_run, make):
    run = new_run()
    events = _whole(run)
    _send(client, *events[:9])
    _turn(make())
    _send(client, *events[9:])
    one = make()
    seen = []
    read = one.streams.read
    one.streams.read = lambda block: [seen.append(found := read(block)), found][1]
    _turn(one)
    assert sum(len(entries) for found in seen for entries in found.values()) == len(events) - 9
    assert _status(run.run) == "succeeded"


def test_results_are_flushed_before_they_are_recorded(client, new_run, make, monkeypatch):
    run, one = new_run(), make()
    _send(client, run.started(), run.running("0"), run.settled("0"))
    wanted = [result_key(run.run, "t#1", "1.1")]
    flushed = []

    def refuse(keys):
        flushed.append(list(keys))
        raise StoreError("the store does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(one.store, "flush", refuse)
        with pytest.raises(StoreError):
            _turn(one)
    assert flushed == [wanted]
    assert _states(run.run) == {}
    one.reopen()
    _turn(one)
    assert _states(run.run) == {"0": "succeeded"}


def test_rows_and_offset_are_one_commit(client, new_run, make, monkeypatch):
    run, one = new_run(), make()
    _send(client, run.started(), run.settled("0"))

    def fail(*_):
        raise OperationalError("commit", {}, Exception("gone"))

    with monkeypatch.context() as patch:
        patch.setattr(recorder, "record_events", fail)
        with pytest.raises(OperationalError):
            _turn(one)
    db.session.rollback()
    assert db.session.scalar(select(func.count()).select_from(StreamOffset)) == 0
    one.reopen()
    _turn(one)
    assert _states(run.run) == {"0": "succeeded"}


def test_an_end_whose_announcement_failed_is_announced_later(client, new_run, make, forgotten):
    run, one = new_run(), make()
    _send(client, *_whole(run))
    announce = one.streams.announce

    def fail(*_):
        raise redis.ConnectionError

    one.streams.announce = fail
    with pytest.raises(redis.ConnectionError):
        _turn(one)
    assert _status(run.run) == "succeeded"
    one.streams.announce = announce
    one.reopen()
    _turn(one)
    assert "run.recorded" in _kinds(client)
    assert run.run in forgotten


def test_a_recorder_that_died_after_the_commit_has_its_ends_announced_by_the_next(client, new_run, make, forgotten):
    run, one = new_run(), make()
    _send(client, *_whole(run))
    one._tell = lambda: None
    _turn(one)
    assert "run.recorded" not in _kinds(client)
    for still_known in (run, new_run()):
        client.hset(meta(still_known.run), "epoch", 1)
    with writing(db.session) as session:
        session.get(Run, run.run).recorded_at -= timedelta(hours=1)
    _turn(make())
    assert "run.recorded" in _kinds(client)
    assert forgotten == [run.run]


def test_a_run_that_a_late_start_brought_back_is_forgotten_again(client, new_run, make, forgotten):
    run, one = new_run(), make()
    _send(client, *_whole(run))
    _turn(one)
    client.hset(meta(run.run), "epoch", 1)
    _turn(one)
    assert forgotten == [run.run]
    one.untold_at = one.upkeep_at = 0.0
    _turn(one)
    assert forgotten == [run.run, run.run]


def test_two_recorders_do_no_harm(client, new_run, make):
    run = new_run()
    events = _whole(run)
    first, second = make(), make()
    _send(client, *events[:5])
    _turn(first)
    _turn(second)
    _send(client, *events[5:])
    _turn(first)
    with pytest.raises(OtherRecorderError):
        _turn(second)
    second.reopen()
    _turn(second)
    assert _status(run.run) == "succeeded"
    assert len(_states(run.run)) == STEPS


def test_another_redis_is_read_from_its_beginning(client, new_run, make):
    one, run, other = make(), new_run(), new_run()
    _send(client, *_whole(run))
    _turn(one)
    client.flushall()
    client.xadd(STREAM, {"e": json.dumps(other.started())}, id="1-1")
    one.upkeep_at = 0.0
    _turn(one)
    _turn(one)
    assert _status(other.run) == "running"


def test_a_redis_that_is_back_from_an_older_state_is_read_from_its_beginning(client, new_run, make):
    run, other = new_run(), new_run()
    _send(client, *_whole(run))
    _turn(make())
    gen = client.get("celesta:gen")
    client.flushall()
    client.set("celesta:gen", gen)
    client.xadd(STREAM, {"e": json.dumps(other.started())}, id="5-1")
    _turn(make())
    assert _status(other.run) == "running"
    assert _status(run.run) == "succeeded"


def test_an_event_that_the_database_refuses_is_left_out_alone(client, new_run, make, caplog):
    run = new_run()
    bad = run.settled("1")
    bad["outcome"]["outputs"] = {"result": {"type": "json", "digest": None, "size": 1}}
    huge = run.settled("2")
    huge["outcome"]["log_bytes"] = 2**80
    _send(client, run.started(), run.settled("0"), bad, b"no json", huge, run.settled("3"))
    _turn(make())
    assert _states(run.run) == {"0": "succeeded", "3": "succeeded"}
    assert caplog.text.count("the database refuses an event") == 2
    assert "no JSON" in caplog.text


def test_what_is_recorded_is_trimmed_after_a_while(client, new_run, make):
    run, one = new_run(), make()
    for moment in range(1, 1001):
        client.xadd(STREAM, {"e": "{}"}, id=f"{moment}-0")
    client.xadd(STREAM, {"e": json.dumps(run.started())}, id=f"{KEPT_MS + 900}-0")
    _turn(one)
    assert 100 <= client.xlen(STREAM) <= 300
    assert client.xrange(STREAM, f"{KEPT_MS + 900}-0")


@contextmanager
def _running(settings, forgotten):
    stop = threading.Event()
    thread = threading.Thread(target=recorder.run, args=(stop, settings, forgotten.append))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def _await_recorded(client, run_id, after="0-0"):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for _, entries in client.xread({STREAM: after}, block=1000, count=5000) or ():
            after = entries[-1][0]
            for _, fields in entries:
                event = json.loads(fields[b"e"])
                if event["kind"] == "run.recorded" and event["run"] == run_id:
                    return event
    pytest.fail(f"run {run_id} was not recorded")


def test_the_loop_records_until_it_is_told_to_stop(settings, client, new_run, forgotten):
    with _running(settings, forgotten):
        for _ in range(3):
            run = new_run()
            _send(client, *_whole(run))
            _await_recorded(client, run.run)
            assert _status(run.run) == "succeeded"


def test_the_end_of_a_run_waits_for_no_company(settings, client, new_run, forgotten, monkeypatch):
    with _running(settings, forgotten):
        first = new_run()
        _send(client, *_whole(first))
        _await_recorded(client, first.run)
        run = new_run()
        whole = _whole(run)
        _send(client, *whole[:-1])
        monkeypatch.setattr(recorder, "GATHER_SECONDS", 10 * SOON_SECONDS)
        _send(client, whole[-1])
        _await_recorded(client, run.run)


def test_the_loop_outlives_redis(settings, client, new_run, forgotten, monkeypatch):
    monkeypatch.setattr(recorder, "RETRY_SECONDS", 0.01)
    with _running(settings, forgotten):
        run = new_run()
        _send(client, run.started())
        for connection in client.client_list():
            if connection["cmd"].startswith("xread"):
                client.client_kill_filter(_id=connection["id"])
        _send(client, *_whole(run)[1:])
        _await_recorded(client, run.run)


def test_what_a_cached_step_costs_to_record_does_not_grow_with_their_number(settings, client):
    def recording(size):
        run = _launcher(settings, wide(size) | {"name": f"wide_{size}"})()
        run.started(size)
        for node in range(size):
            run.settled(str(node), "cached", cache_key=f"{node:064}", components={"v": 1, "inputs": {"x": "0" * 64}})
        run.finished(total=size, cached=size)
        _send(client, *run.events)
        forgotten = []
        one = Recorder(settings, forgotten.append)
        closing.callback(one.close)

        def record():
            while run.run not in forgotten:
                _turn(one)
            assert len(_states(run.run)) == size

        return record

    with standalone(settings), ExitStack() as closing:
        assert growth(recording, 500, 5_000) < 4
