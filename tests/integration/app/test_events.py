"""The hub against a real stream: who hears what, and what happens to those who are slow."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest
import redis

from app import events
from app.events import Busy, Event, Hub, Overrun, Subscription

STREAM = "celesta:{p0}:events"
PATIENCE_SECONDS = 10


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def hub(redis_url: str) -> Hub:
    return Hub(redis_url, slots=2)


def add(client: redis.Redis, run: str, kind: str = "step.settled", **more: object) -> str:
    body = json.dumps({"kind": kind, "run": run, "project": "default", **more})
    return client.xadd(STREAM, {"e": body}).decode()


def take(subscription: Subscription, count: int) -> list[Event]:
    found: list[Event] = []
    while len(found) < count:
        more = subscription.get(PATIENCE_SECONDS)
        assert more, f"{len(found)} of {count} events came"
        found += more
    return found


def test_a_follower_of_a_run_hears_that_run_only_and_from_now_on(hub: Hub, client: redis.Redis) -> None:
    add(client, "r1", node="before")
    with hub.subscribe(run="r1") as subscription:
        add(client, "r2", node="0")
        stream_id = add(client, "r1", node="1")
        (event,) = take(subscription, 1)
    assert (event.id, event.body["node"]) == (stream_id, "1")


def test_a_follower_of_a_project_hears_all_its_runs_but_only_the_kinds_it_asked_for(
    hub: Hub, client: redis.Redis
) -> None:
    with hub.subscribe(project="default", kinds=frozenset({"run.finished"})) as subscription:
        for run in ("r1", "r2"):
            add(client, run)
            add(client, run, "run.finished")
        assert [event.body["run"] for event in take(subscription, 2)] == ["r1", "r2"]


def test_ten_followers_share_one_reader_which_ends_with_the_last_of_them(hub: Hub, client: redis.Redis) -> None:
    def readers() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "celesta-events"]

    with hub.subscribe(run="r1"):
        for _ in range(9):
            with hub.subscribe(run="r1") as subscription:
                add(client, "r1")
                take(subscription, 1)
        (reader,) = readers()
    add(client, "r1")
    reader.join(PATIENCE_SECONDS)
    assert not reader.is_alive()


def test_a_follower_that_is_too_slow_is_told_to_resume(
    hub: Hub, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "QUEUE_EVENTS", 3)
    with hub.subscribe(run="r1") as slow, hub.subscribe(run="r1", kinds=frozenset({"run.finished"})) as other:
        for _ in range(5):
            add(client, "r1")
        add(client, "r1", "run.finished")
        take(other, 1)
        with pytest.raises(Overrun):
            slow.get(0)


def test_what_was_missed_is_read_back_from_the_stream(hub: Hub, client: redis.Redis) -> None:
    first = add(client, "r1", node="0")
    add(client, "r2", node="0")
    add(client, "r1", node="1")
    assert [event.body["node"] for event in hub.since("r1", first)] == ["1"]


def test_an_entry_that_is_no_event_is_passed_over(hub: Hub, client: redis.Redis) -> None:
    with hub.subscribe(run="r1") as subscription:
        client.xadd(STREAM, {"e": "not json"})
        client.xadd(STREAM, {"x": "y"})
        add(client, "r1", node="7")
        assert take(subscription, 1)[0].body["node"] == "7"


def test_a_follower_hears_on_after_the_streams_began_anew(hub: Hub, client: redis.Redis) -> None:
    client.xadd(STREAM, {"e": json.dumps({"kind": "step.settled", "run": "r0"})}, id="9999999999999-0")
    with hub.subscribe(run="r1") as subscription:
        client.delete(STREAM)
        add(client, "r1", node="lost?")
        hub._rewind()
        assert take(subscription, 1)[0].body["node"] == "lost?"


def test_followers_above_the_slots_are_refused_until_one_leaves(hub: Hub) -> None:
    leave = hub.take_slot()
    hub.take_slot()
    with pytest.raises(Busy):
        hub.take_slot()
    leave()
    hub.take_slot()


def test_a_hub_that_closes_sends_its_followers_away(hub: Hub) -> None:
    with hub.subscribe(run="r1") as subscription:
        ended: list[bool] = []

        def follow() -> None:
            with pytest.raises(Overrun):
                subscription.get(PATIENCE_SECONDS)
            ended.append(True)

        follower = threading.Thread(target=follow)
        follower.start()
        closer = threading.Thread(target=hub.close)
        closer.start()
        follower.join(PATIENCE_SECONDS)
    closer.join(PATIENCE_SECONDS)
    assert ended
    assert not any(thread.name == "celesta-events" for thread in threading.enumerate())
