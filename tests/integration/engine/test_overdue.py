"""What a crash leaves behind is found by its deadline, and nothing that is durable is done again."""

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from celesta.errors import StoreError
from celesta.store.base import step_prefix
from tests.integration.engine.harness import Planned, World, result_of, step, value
from workers.engine import Ended, complete, control, keys, overdue, start
from workers.engine.running import expire
from workers.engine.starting import rebuild


def _sweep(world: World, backlog: int = 0) -> None:
    """Lets all deadlines pass, and sweeps."""
    for name in world.client.zrange(keys.INFLIGHT, 0, -1):
        world.client.zadd(keys.INFLIGHT, {name: 1})
    overdue.sweep(world.engine, lambda: backlog, lambda run: None, lambda run, nodes: {})


def _claim(world: World) -> Any:
    run, steps = world.queue.popleft()
    batch = world.new_worker("there:2").claim(run, steps, lambda ended: None)
    assert batch is not None
    return batch


def _two(world: World) -> None:
    plan = Planned()
    first = plan.add("one")
    plan.add("double", x=step(first))
    world.start("r1", world.plan(plan, result=step(1)))


def _manifest(world: World, node: str, path: str, token: str, number: int) -> None:
    attempt = {"run": "r1", "path": path, "node": node, "token": token}
    result = result_of(attempt, result=value(number)["value"])
    world.store.create(f"{step_prefix('r1', path, token)}result.json", json.dumps(result).encode())


def test_a_message_that_was_lost_is_sent_again(world: World) -> None:
    _two(world)
    world.queue.clear()
    _sweep(world)
    world.drain()
    assert world.output() == 2
    assert world.events("r1", "step.retry") == []


def test_a_message_that_may_still_be_queued_is_waited_for(world: World) -> None:
    _two(world)
    _sweep(world, backlog=1)
    assert len(world.queue) == 1


def test_a_message_that_was_overtaken_is_sent_again(world: World) -> None:
    _two(world)
    lost = world.queue.popleft()
    plan = Planned()
    plan.add("one")
    world.start("r2", world.plan(plan))
    world.drain()
    _sweep(world, backlog=1)
    assert list(world.queue) == [lost]


def test_a_step_whose_worker_died_is_started_again(world: World) -> None:
    _two(world)
    _claim(world)
    _sweep(world)
    world.drain()
    assert world.output() == 2
    (event,) = world.events("r1", "step.retry")
    assert (event["reason"], event["token"], event["next_attempt"]) == ("lost", "1.1", 2)


def test_a_result_that_is_durable_is_adopted(world: World) -> None:
    _two(world)
    _claim(world)
    _manifest(world, "0", "one#0", "1.1", 21)
    _sweep(world)
    world.drain()
    assert world.output() == 42
    assert world.executor.ran == ["1"]


def test_while_the_store_cannot_tell_nothing_is_started(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _two(world)
    _claim(world)

    def silent(key: str) -> bytes:
        raise StoreError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(world.engine.store, "get", silent)
        _sweep(world)
    assert not world.queue
    _sweep(world)
    world.drain()
    assert world.output() == 2


def test_a_live_lease_is_believed(world: World) -> None:
    _two(world)
    batch = _claim(world)
    overdue.sweep(world.engine, lambda: 0, lambda run: None, lambda run, nodes: {})
    assert not world.queue
    assert batch.held() == [("0", "1.1")]
    lost = {"status": "failed", "error": {"type": "Lost", "message": "", "kind": "system"}}
    assert complete(world.engine, "r1", [Ended("0", "1.1", lost, overdue=True)]) == ["stale"]


def test_a_backoff_ends_when_its_time_has_come(world: World) -> None:
    plan = Planned()
    plan.add("fail", retries=2, x=value(1))
    world.start("r1", world.plan(plan))
    for _ in range(3):
        world.drain()
        _sweep(world)
    assert world.executor.ran == ["0", "0", "0"]
    assert world.finished()["status"] == "failed"
    delays = [event["at_or_after_ms"] - event["at_ms"] for event in world.events("r1", "step.retry")]
    assert delays == [50, 100]


def test_steps_that_were_asked_and_forgotten_are_asked_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Planned()
    first = plan.add("one")
    plan.add("double", cache=True, x=step(first))
    world.start("r1", world.plan(plan, result=step(1)))
    with monkeypatch.context() as patch:
        patch.setattr("workers.engine.completing.Cascade.run", lambda self: False)
        world.drain()
    assert world.finished() is None
    _sweep(world)
    world.drain()
    assert world.output() == 2


@pytest.mark.parametrize("calls", range(1, 7))
def test_a_map_whose_opening_was_cut_short_is_opened_on(
    world: World, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    plan = Planned()
    doubled = plan.add("double", map_over=["x"], x=value([1, 2, 3]))
    total = plan.add("total", items=step(doubled))
    digest = world.plan(plan, result=step(total))
    with monkeypatch.context() as patch, _dies_after(world, patch, calls):
        world.start("r1", digest)
    for _ in range(4):
        _sweep_with(world, digest)
        world.drain()
    assert world.output() == 12
    assert sorted(world.executor.ran) == ["0.0", "0.1", "0.2", "1"]


@pytest.mark.parametrize("calls", range(1, 5))
def test_a_start_that_was_cut_short_is_gone_on_with(world: World, monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    plan = Planned()
    roots = [plan.add("double", x=value(n)) for n in range(5)]
    total = plan.add("total", items={"list": [step(root) for root in roots]})
    digest = world.plan(plan, result=step(total))
    with monkeypatch.context() as patch, _dies_after(world, patch, calls):
        world.start("r1", digest)
    if not world.client.exists(keys.meta("r1")):
        world.start("r1", digest)
    for _ in range(3):
        _sweep_with(world, digest)
        world.drain()
    assert world.output() == 20
    assert len(world.executor.ran) == 6


def test_an_end_that_was_not_told_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Planned()
    plan.add("one")
    world.start("r1", world.plan(plan, result=step(0)))
    with monkeypatch.context() as patch:
        patch.setattr("workers.engine.completing.finish", lambda engine, view: False)
        world.drain()
    assert world.finished() is None
    _sweep(world)
    assert world.output() == 1
    assert world.client.zcard(keys.INFLIGHT) == 0


def test_a_dead_childs_leases_end_at_once_and_a_live_ones_do_not(world: World) -> None:
    _two(world)
    run, steps = world.queue.popleft()
    here = f"{os.uname().nodename}:{os.getpid()}"
    world.new_worker(f"{here}:{os.getppid()}").claim(run, steps, lambda ended: None)
    before = world.client.zscore(keys.INFLIGHT, "r1|0")
    expire(world.engine, "r1")
    assert world.client.zscore(keys.INFLIGHT, "r1|0") == before
    world.client.hset(keys.states("r1"), "0", "running|1.1||1|another:1:4194399")
    expire(world.engine, "r1")
    assert world.client.zscore(keys.INFLIGHT, "r1|0") == before, "it is another's child"
    world.client.hset(keys.states("r1"), "0", f"running|1.1||1|{here}:4194399")
    expire(world.engine, "r1")
    assert world.client.zscore(keys.INFLIGHT, "r1|0") < before - 5_000


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_run_past_its_timeout_is_looked_at_no_oftener_than_its_last_step_lets_it_end(
    world: World, cancelled: bool
) -> None:
    plan = Planned(options={"timeout_seconds": 5.0})
    plan.add("one")
    world.start("r1", world.plan(plan))
    _claim(world)
    if cancelled:
        control(world.engine, "r1", "cancel")
    world.client.zadd(keys.INFLIGHT, {f"r1|{keys.TIMEOUT}": 1}, xx=True)
    overdue.sweep(world.engine, lambda: 0, lambda run: None, lambda run, nodes: {})
    assert overdue.next_in_seconds(world.engine) > 0
    assert world.client.zscore(keys.INFLIGHT, "r1|") is not None, "should the caller have died"


# A Redis that lost everything


def _lose(world: World) -> None:
    world.client.flushall()
    world.queue.clear()
    world.engine = world.new_engine()
    world.worker = world.new_worker("here:1")


def _rebuild(world: World, digest: str, **more: Any) -> None:
    rebuild(world.engine, world.source("r1", digest, status="running", raise_epoch=lambda adopted: 2, **more))


def test_a_rebuilt_run_computes_only_what_was_not_durable(world: World) -> None:
    plan = Planned()
    first = plan.add("one")
    left, right = plan.add("double", x=step(first)), plan.add("double", x=step(first))
    join = plan.add("add", a=step(left), b=step(right))
    digest = world.plan(plan, result=step(join))
    world.start("r1", digest)
    world.work()
    world.work()
    assert world.executor.ran == ["0", "1"]
    _lose(world)
    _rebuild(world, digest)
    assert not world.queue, "what may still run has one lease to say so"
    _sweep(world)
    world.drain()
    assert world.output() == 4
    assert world.executor.ran == ["0", "1", "2", "3"]
    assert {event["node"]: event["token"] for event in world.events("r1", "step.settled")} == {
        "0": "1.1", "1": "1.1", "2": "2.1", "3": "2.1",
    }  # fmt: skip


def test_a_result_taken_over_by_a_rebuild_answers_from_the_cache_again(world: World) -> None:
    plan = Planned()
    plan.add("one", cache=True)
    digest = world.plan(plan, result=step(0))
    world.start("r1", digest)
    world.work()
    _lose(world)
    _rebuild(world, digest)
    (event,) = world.events("r1", "step.settled")
    assert event["cache_key"], "the record has it too"
    world.start("r2", digest)
    assert world.finished("r2")["counts"]["cached"] == 1
    assert world.executor.ran == ["0"]


def test_a_live_attempt_takes_its_step_back_after_a_rebuild(world: World) -> None:
    plan = Planned()
    first = plan.add("one")
    plan.add("double", x=step(first))
    digest = world.plan(plan, result=step(1))
    world.start("r1", digest)
    batch = _claim(world)
    _lose(world)
    _rebuild(world, digest)
    held = batch.held()
    reply = world.engine.call("renew", "r1", steps=held, owner="there:2", lease=10_000)
    assert reply["answers"] == ["ok"]
    outcome = {"status": "succeeded", "outputs": {"result": value(30)["value"]}, "error": None, "metrics": []}
    assert complete(world.engine, "r1", [Ended("0", "1.1", outcome)]) == ["ok"]
    world.drain()
    assert world.output() == 60
    assert world.executor.ran == ["1"]


def test_a_map_is_rebuilt_item_by_item(world: World) -> None:
    plan = Planned()
    doubled = plan.add("double", map_over=["x"], x=value([1, 2, 3]))
    total = plan.add("total", items=step(doubled))
    digest = world.plan(plan, result=step(total))
    world.start("r1", digest)
    world.work()
    world.work()
    _lose(world)
    _rebuild(world, digest)
    _sweep(world)
    world.drain()
    assert world.output() == 12
    assert world.executor.ran == ["0.0", "0.1", "0.2", "1"]


def test_a_run_with_traces_in_the_store_is_never_started_as_new(world: World) -> None:
    plan = Planned()
    plan.add("one")
    digest = world.plan(plan, result=step(0))
    world.start("r1", digest)
    world.work()
    _lose(world)
    start(world.engine, world.source("r1", digest, raise_epoch=lambda adopted: 7))
    assert world.output() == 1
    assert world.finished()["epoch"] == 7
    assert world.executor.ran == ["0"]


def test_a_process_that_met_the_run_before_redis_lost_it_rebuilds_it_too(world: World) -> None:
    plan = Planned()
    plan.add("one")
    digest = world.plan(plan, result=step(0))
    world.start("r1", digest)
    world.work()
    world.client.flushall()
    start(world.engine, world.source("r1", digest, status="running"))
    assert world.output() == 1
    assert world.executor.ran == ["0"]


def test_a_heartbeat_that_comes_before_the_rebuild_is_through_is_not_told_to_stop(world: World) -> None:
    plan = Planned()
    first = plan.add("one")
    plan.add("double", x=step(first))
    digest = world.plan(plan, result=step(1))
    facts = {"project": "p", "plan": digest, "inputs": "{}", "options": "{}", "started": '{"kind":"s"'}
    world.engine.call("load", "r1", epoch=2, known=2, rebuilt=1, lease=10_000, control="run", **facts)
    reply = world.engine.call("renew", "r1", steps=[["0", "1.1"], ["0", "2.1"]], owner="there:2", lease=10_000)
    assert reply["answers"] == ["ok", "stale"]


def test_flights_without_a_run_are_swept_away(world: World) -> None:
    world.client.zadd(keys.INFLIGHT, {"gone|3": 1})
    overdue.sweep(world.engine, lambda: 0, lambda run: None, lambda run, nodes: {})
    assert world.client.zcard(keys.INFLIGHT) == 0


class _Death(BaseException):
    """What a killed process feels."""


def _dies_after(world: World, patch: pytest.MonkeyPatch, calls: int) -> Any:
    left = [calls]
    real: Callable[..., Any] = world.engine.call

    def call(name: str, run: str, **arguments: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise _Death
        return real(name, run, **arguments)

    patch.setattr(world.engine, "call", call)
    return _Survived()


class _Survived:
    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        return kind is _Death


def _sweep_with(world: World, digest: str) -> None:
    for name in world.client.zrange(keys.INFLIGHT, 0, -1):
        world.client.zadd(keys.INFLIGHT, {name: 1})
    overdue.sweep(world.engine, lambda: 0, lambda run: world.start(run, digest), lambda run, nodes: {})
