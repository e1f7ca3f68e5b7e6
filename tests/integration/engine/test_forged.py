"""Any step can write a result of its own: what is none of its attempt fails that step, wherever the engine meets it."""

import json
from typing import Any

import pytest

from celesta.store.base import step_prefix
from tests.integration.engine.harness import Planned, World, result_of, step, value
from workers.engine import keys, overdue
from workers.engine.starting import rebuild

REF = {"type": "list", "digest": "0" * 64, "size": 1, "length": 1}


def _sweep(world: World) -> None:
    """Lets all deadlines pass, and sweeps."""
    for name in world.client.zrange(keys.INFLIGHT, 0, -1):
        world.client.zadd(keys.INFLIGHT, {name: 1})
    overdue.sweep(world.engine, lambda: 0, lambda run: None, lambda run, nodes: {})


def _claimed(world: World) -> None:
    run, steps = world.queue.popleft()
    assert world.new_worker("there:2").claim(run, steps, lambda ended: None) is not None


def _forge(world: World, place: str, **changes: Any) -> None:
    """Leaves a result in the place of an attempt at the first step."""
    attempt = {"run": "r1", "path": "one#0", "node": "0", "token": place}
    forged = result_of(attempt, result=value(7)["value"]) | changes
    world.store.create(f"{step_prefix('r1', 'one#0', place)}result.json", json.dumps(forged).encode())


def _answer(world: World, monkeypatch: pytest.MonkeyPatch, ref: Any) -> None:
    """Has the executor give this as the output of every step."""
    submit = world.executor.submit
    changed = {"outputs": {"result": ref}}
    monkeypatch.setattr(world.executor, "submit", lambda document: (submit(document) or {}) | changed)


def _two(world: World, retries: int = 0) -> str:
    plan = Planned()
    plan.add("double", x=step(plan.add("one", retries=retries)))
    digest = world.plan(plan, result=step(1))
    world.start("r1", digest)
    return digest


@pytest.mark.parametrize(
    "changes",
    [
        {"outputs": {"result": 7}},
        {"outputs": {}},
        {"outputs": []},
        {"outputs": {"result": REF | {"items": [7]}}},
        {"metrics": 7},
        {"error": 7},
        {"node": "1"},
        {"status": "fine"},
    ],
)
def test_a_forged_result_of_a_lost_worker_fails_the_step_by_its_budget(world: World, changes: dict[str, Any]) -> None:
    _two(world, retries=1)
    for token in ("1.1", "1.2"):
        _claimed(world)
        _forge(world, token, **changes)
        _sweep(world)  # the lease: the result is found
        _sweep(world)  # the wait before the next attempt
    error = world.finished()["error"]
    assert (error["path"], error["type"], error["kind"]) == ("one#0", "InvalidResult", "user")
    assert world.states() == {"0": "failed", "1": "upstream_failed"}


def test_what_an_executor_hands_over_is_looked_at_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _answer(world, monkeypatch, 7)
    _two(world)
    world.drain()
    assert world.finished()["error"]["type"] == "InvalidResult"


def test_a_rebuild_takes_over_no_forged_result(world: World) -> None:
    digest = _two(world)
    _claimed(world)
    _forge(world, "1.1", outputs={"result": 7})
    _forge(world, "1.2", node="1")
    _forge(world, "1.3", token="1.x")
    _forge(world, "1.4", token="1.9")
    world.client.flushall()
    rebuild(world.engine, world.source("r1", digest, status="running"))
    _sweep(world)
    world.drain()
    assert world.output() == 2


@pytest.mark.parametrize("blob", [b"{", b"{}", b"[7]", b"[" * 100_000])
def test_a_list_that_is_none_fails_what_maps_over_it(
    world: World, monkeypatch: pytest.MonkeyPatch, blob: bytes
) -> None:
    _answer(world, monkeypatch, REF | {"blob": world.store.put_blob(blob)})
    plan = Planned()
    plan.add("double", map_over=["x"], x=step(plan.add("one", cache=True)))
    digest = world.plan(plan, result=step(1))
    world.start("r1", digest)
    world.drain()
    assert (world.finished()["error"]["type"], world.states()["1"]) == ("CodecError", "failed")
    world.start("r2", digest)  # What the cache knows of it answers nobody.
    world.drain()
    assert world.finished("r2")["counts"]["cached"] == 0
