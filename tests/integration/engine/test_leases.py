"""The heartbeat of a worker child: what it keeps, what it stops, and what it gives back."""

import threading
from typing import Any

import pytest

from celesta.errors import StoreError
from tests.integration.engine.harness import Planned, World, value
from workers.engine import complete, control, keys
from workers.engine.caching import Slot
from workers.engine.leases import SLOW_SECONDS, Leases
from workers.engine.running import Batch
from workers.engine.settling import Ended


@pytest.fixture
def batch(world: World) -> Batch:
    """Three steps of one message: the first ended, the second at work, the third waiting."""
    plan = Planned()
    for number in range(3):
        plan.add("double", x=value(number))
    world.start("r1", world.plan(plan))
    world.queue.clear()
    made = world.worker.claim("r1", [["0", 1], ["1", 1], ["2", 1]], lambda ended: _report(world, ended))
    assert made is not None
    world.worker.batch = made
    outcome = {"status": "succeeded", "outputs": {"result": value(0)["value"]}, "error": None, "metrics": []}
    made.next()
    made.keep(Ended("0", "1.1", outcome))
    made.next()
    return made


def _report(world: World, ended: list[Ended]) -> None:
    complete(world.engine, "r1", ended)


def test_every_claimed_step_is_kept_alive(world: World, batch: Batch) -> None:
    world.client.zadd(keys.INFLIGHT, {f"r1|{node}": 1 for node in range(3)})
    Leases(world.worker).tick()
    assert [node for node, _ in batch.held()] == ["1", "2", "0"]
    assert all(score > 1 for _, score in world.client.zrange(keys.INFLIGHT, 0, -1, withscores=True))


def test_what_waits_behind_a_slow_step_goes_back_and_what_ended_is_reported(world: World, batch: Batch) -> None:
    batch.since -= SLOW_SECONDS + 1
    Leases(world.worker).tick()
    assert world.states() == {"0": "succeeded"}
    assert [steps for _, steps in world.queue] == [[["2", 1]]]
    assert batch.held() == [("1", "1.1")]
    assert batch.next() is None


def test_what_goes_back_leaves_its_key_to_others(world: World) -> None:
    plan = Planned()
    plan.add("double", map_over=["x"], cache=True, x=value([1, 2]))
    world.start("r1", world.plan(plan))
    held: list[int] = []

    def be_slow(document: dict[str, Any]) -> None:
        batch = world.worker.batch
        assert batch is not None
        held.append(len(batch.flights))
        batch.since -= SLOW_SECONDS + 1
        Leases(world.worker).tick()
        held.append(len(batch.flights))

    world.executor.before = be_slow
    world.queue.clear()
    ended = world.worker.run("r1", [["0.0", 1], ["0.1", 1]], lambda ended: None)
    world.executor.before = lambda document: None
    assert held == [2, 1]
    assert [one.node for one in ended] == ["0.0"]
    assert [steps for _, steps in world.queue] == [[["0.1", 1]]]
    assert world.new_worker("there:2").run(*world.queue.popleft(), lambda ended: None), "its key is free"


def test_a_cancelled_run_stops_the_step_at_work(world: World, batch: Batch) -> None:
    control(world.engine, "r1", "cancel")
    Leases(world.worker).tick()
    assert world.executor.cancelled == [("r1", "1", "1.1")]
    assert batch.stopped == {"1": "cancelled"}


def test_a_superseded_attempt_is_stopped(world: World, batch: Batch) -> None:
    world.client.hset(keys.states("r1"), "1", "running|1.2|system:1;|1|there:2")
    Leases(world.worker).tick()
    assert batch.stopped == {"1": "stale"}


def test_a_redis_that_lost_the_run_stops_nothing(world: World, batch: Batch) -> None:
    world.client.flushall()
    Leases(world.worker).tick()
    assert world.executor.cancelled == []
    assert world.client.dbsize() == 0


def test_a_flight_is_kept_as_long_as_its_step_runs(world: World, batch: Batch) -> None:
    name = keys.flight("p", "k")
    world.client.set(name, "me", px=1_000)
    batch.flights[Slot("p", "k")] = "me"
    Leases(world.worker).tick()
    assert world.client.pttl(name) > 5_000
    world.client.set(name, "other", px=1_000)
    Leases(world.worker).tick()
    assert world.client.pttl(name) <= 1_000


@pytest.mark.parametrize(("told", "status", "state"), [("cancelled", "failed", "cancelled"), ("stale", "failed", None)])
def test_what_a_stopped_step_says_at_its_end(
    world: World, monkeypatch: pytest.MonkeyPatch, told: str, status: str, state: Any
) -> None:
    plan = Planned()
    plan.add("fail", x=value(1))
    world.start("r1", world.plan(plan))
    run, steps = world.queue.popleft()

    def stop(document: dict[str, Any]) -> None:
        assert world.worker.batch is not None
        world.worker.batch.stopped["0"] = told

    world.executor.before = stop
    ended = world.worker.run(run, steps, lambda ended: None)
    assert [one.state for one in ended] == ([state] if state else [])


@pytest.mark.parametrize("error", [StoreError("does not answer"), ValueError("a bug of ours")])
def test_no_error_ends_the_heartbeat(world: World, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    leases, came_again, ticks = Leases(world.worker), threading.Event(), []

    def tick() -> None:
        ticks.append(1)
        if len(ticks) > 1:
            came_again.set()
        raise error

    monkeypatch.setattr(leases, "tick", tick)
    leases.start()
    assert came_again.wait(10)
    leases.stop.set()
    leases.join()
