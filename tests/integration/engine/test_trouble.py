"""Trouble with one run, or one step, is no other's: whatever is overdue beside it is moved on."""

from typing import Any

import pytest
from redis.exceptions import ResponseError

from tests.integration.engine.harness import Planned, World, step, value
from workers.engine import keys, overdue
from workers.engine.waiting import Answer


def _sweep_all(world: World) -> None:
    """Lets all deadlines pass, and sweeps."""
    world.client.zadd(keys.INFLIGHT, dict.fromkeys(world.client.zrange(keys.INFLIGHT, 0, -1), 1))
    overdue.sweep(world.engine, lambda: 0, lambda run: None, lambda run, nodes: {})


def _claim(world: World) -> None:
    run, steps = world.queue.popleft()
    assert world.new_worker("there:2").claim(run, steps, lambda ended: None) is not None


def _claim_all(world: World) -> None:
    while world.queue:
        _claim(world)


def test_a_run_that_redis_refuses_holds_up_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for run in ("r1", "r2"):
        plan = Planned()
        plan.add("one")
        world.start(run, world.plan(plan, result=step(0)))
    world.queue.clear()
    move_on = overdue._sweep_run

    def refuse(engine: Any, run: str, *rest: Any) -> None:
        if run == "r1":
            raise ResponseError("Expected value but found invalid unicode escape code")
        move_on(engine, run, *rest)

    monkeypatch.setattr(overdue, "_sweep_run", refuse)
    _sweep_all(world)
    assert [run for run, _ in world.queue] == ["r2"]


def test_steps_that_cannot_be_moved_on_do_not_stand_before_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overdue, "AT_ONCE", 2)
    plan = Planned()
    plan.add("double", map_over=["x"], x=value([1, 2]))
    world.start("r1", world.plan(plan))
    other = Planned()
    other.add("one")
    world.start("r2", world.plan(other))
    _claim_all(world)
    move_on = overdue._replace

    def stumble(engine: Any, view: Any, node: str, token: str) -> None:
        if view.run == "r1":
            raise KeyError("task")
        move_on(engine, view, node, token)

    monkeypatch.setattr(overdue, "_replace", stumble)
    world.client.zadd(keys.INFLIGHT, {"r1|0.0": 1, "r1|0.1": 2, "r2|0": 3})
    for _ in range(2):
        overdue.sweep(world.engine, lambda: 0, lambda run: None, lambda run, nodes: {})
    assert [run for run, _ in world.queue] == ["r2"]


def test_one_step_that_cannot_be_moved_on_leaves_the_others_of_its_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Planned()
    plan.options["timeout_seconds"] = 60
    plan.add("one")
    plan.add("one")
    world.start("r1", world.plan(plan, result=step(0)))
    _claim(world)
    monkeypatch.setattr(overdue, "_replace", lambda *_: {}["task"])
    monkeypatch.setattr(overdue, "time_out", lambda *_: {}["timeout"])
    world.queue.clear()
    _sweep_all(world)
    assert [steps for _, steps in world.queue] == [[["1", 1]]]
    assert overdue.next_in_seconds(world.engine) > 0, "nobody looks again at once"


def test_without_a_database_questions_wait_and_stand_before_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overdue, "AT_ONCE", 1)
    plan = Planned()
    plan.wait("approve", timeout=1.0)
    world.start("r1", world.plan(plan))
    other = Planned()
    other.add("one")
    world.start("r2", world.plan(other))
    world.queue.clear()
    world.client.zadd(keys.INFLIGHT, {"r1|0": 1, "r2|0": 2})
    for _ in range(2):
        overdue.sweep(world.engine, lambda: 0, lambda run: None, lambda run, nodes: None)
    assert [run for run, _ in world.queue] == ["r2"]
    world.client.zadd(keys.INFLIGHT, {"r1|0": 1})
    overdue.sweep(world.engine, lambda: 0, lambda run: None, lambda run, nodes: {"0": Answer(None, "", "")})
    assert world.finished("r1") is not None


def test_the_broker_is_asked_once_in_a_sweep_and_need_not_answer(world: World) -> None:
    for run in ("r1", "r2"):
        plan = Planned()
        plan.add("one")
        world.start(run, world.plan(plan))
    world.start("r3", world.plan(plan))
    run, steps = world.queue.pop()
    assert world.new_worker("there:2").claim(run, steps, lambda ended: None) is not None
    world.queue.clear()
    asked: list[int] = []
    world.client.zadd(keys.INFLIGHT, {"r1|0": 1, "r2|0": 2, "r3|0": 3})
    world.client.hset(keys.MARKS, "claimed", 0)
    overdue.sweep(world.engine, lambda: asked.append(1), lambda run: None, lambda run, nodes: {})
    assert asked == [1]
    assert [run for run, _ in world.queue] == ["r3"], "what may still be queued is waited for"
