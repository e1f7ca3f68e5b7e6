"""What runs when a run has failed: once the rest is over, once, and whatever it is."""

import json
from typing import Any

import pytest

from celesta.runtime.failures import plain_error
from tests.integration.engine.harness import Planned, World, step, value
from tests.integration.engine.test_failures import sweep, to_the_end
from tests.integration.engine.traced import FUNCTIONS
from workers.engine import Ended, answer, complete, control, handling, keys, overdue, settling
from workers.engine.settling import Adopted
from workers.engine.starting import rebuild
from workers.engine.waiting import Answer, Waits


def _watched(world: World, *, policy: str = "continue", x: int = 1) -> str:
    """A run whose step 0 fails when x is 1; on failure 2 is told, and 3 after it; one of the run's own is 1."""
    plan = Planned(options={"policy": policy})
    plan.add("odd", x=value(x + 1))
    plan.add("one")
    plan.add("tell", on_failure=True, failure={"failure": True})
    plan.add("double", on_failure=True, x=step(2))
    world.functions["tell"] = lambda failure: told.append(failure) or 21
    told: list[Any] = []
    world.told = told  # type: ignore[attr-defined]
    return world.plan(plan, result=step(0))


@pytest.mark.parametrize("policy", ["continue", "fail_fast"])
def test_the_steps_for_a_failure_run_once_the_rest_is_over(world: World, policy: str) -> None:
    world.start("r1", _watched(world, policy=policy))
    world.drain()
    finished = world.finished()
    assert finished["status"] == "failed"
    assert finished["error"]["path"] == "odd#0"
    assert world.states()["3"] == "succeeded"
    assert finished["counts"]["total"] == 4
    assert world.executor.ran[-2:] == ["2", "3"]
    assert world.told == [  # type: ignore[attr-defined]
        {
            "run": "r1", "project": "p", "workflow": "test", "path": "odd#0", "type": "ValueError",
            "message": "no luck with [2]", "kind": "user",
        }
    ]  # fmt: skip
    assert world.client.zcard(keys.INFLIGHT) == 0


def test_they_do_not_run_when_it_succeeds_or_is_cancelled(world: World) -> None:
    digest = _watched(world, x=0)
    world.start("r1", digest)
    world.drain()
    assert world.finished("r1")["counts"]["total"] == 2
    world.start("r2", _watched(world))
    control(world.engine, "r2", "cancel")
    assert world.finished("r2")["status"] == "cancelled"
    world.drain()
    assert set(world.states("r2")) == {"0", "1"}


@pytest.mark.parametrize("policy", ["fail_fast", "continue"])
@pytest.mark.parametrize("said", ["cancel", "pause", "run"])
def test_what_a_person_says_while_a_failure_ends_the_run_holds_for_them(world: World, said: Any, policy: str) -> None:
    """While what runs still is ended, and in the moment before they begin."""
    world.start("r1", _watched(world, policy=policy))
    while world.queue:
        world.new_worker("there:2").claim(*world.queue.popleft(), lambda ended: None)
    error = plain_error("ValueError", "no luck", "user")
    complete(world.engine, "r1", [Ended("0", "1.1", settling.failure(error))])
    control(world.engine, "r1", said)
    complete(world.engine, "r1", [Ended("1", "1.1", {}, cancelled=True)])
    world.drain()
    if said == "pause":
        assert world.executor.ran == []
        assert world.finished() is None
        control(world.engine, "r1", "run")
        world.drain()
    assert world.executor.ran == ([] if said == "cancel" else ["2", "3"])
    assert world.finished()["status"] == ("cancelled" if said == "cancel" else "failed")
    assert world.client.zcard(keys.INFLIGHT) == 0


def _constructs(world: World) -> str:
    """A run that fails, and then maps, asks, waits for a value and a time, opens a plan and looks into the cache."""
    world.functions.update(FUNCTIONS)
    world.functions |= {
        "tell": lambda to, failure: f"{to}: {failure['type']}",
        "joined": lambda lines: ", ".join(lines),
    }
    plan = Planned()
    plan.add("fail", x=value(1))
    plan.add("tell", on_failure=True, map_over=["to"], to=value(["ada", "bob"]), failure={"failure": True})
    plan.wait("approve", on_failure=True, message="sure?")
    plan.wait("wait_for", on_failure=True)
    plan.wait("sleep", on_failure=True, seconds=60)
    plan.add("burst", on_failure=True, dynamic=True, x=value(5))
    plan.add("double", on_failure=True, cache=True, x=value(5))
    plan.add("joined", on_failure=True, lines=step(1))
    return world.plan(plan)


@pytest.mark.parametrize("dies", [False, True])
def test_what_runs_on_a_failure_may_map_ask_and_wait(world: World, monkeypatch: pytest.MonkeyPatch, dies: bool) -> None:
    digest = _constructs(world)
    with monkeypatch.context() as patch:
        if dies:  # whoever began them, before it came to what has to be asked
            patch.setattr(handling.Cascade, "run", lambda cascade: False)
        world.start("r1", digest)
        world.work()
    if dies:
        sweep(world)
    world.drain()
    assert sorted((e["node"], e["waits_for"]) for e in world.events("r1", "step.parked")) == [
        ("2", "approve"), ("3", "wait_for"), ("4", "sleep"),
    ]  # fmt: skip
    assert not {"1", "2", "3", "4"} & set(world.executor.ran)
    answer(
        world.engine, "r1", {"2": Answer(value(True)["value"], "ada", ""), "3": Answer(value(7)["value"], "ada", "")}
    )
    assert world.finished() is None
    sweep(world)
    finished = world.finished()
    assert (finished["status"], finished["error"]["path"]) == ("failed", "fail#0")
    assert {world.states()[str(node)] for node in range(1, 8)} == {"succeeded"}
    results = world.client.hmget(f"celesta:{{{keys.SHARD}}}:r1:out", ["7", "6", "5"])
    assert [json.loads(text)["result"]["inline"] for text in results] == ["ada: ValueError, bob: ValueError", 10, 12]


def test_what_runs_on_a_failure_goes_on_in_a_rebuilt_run(world: World) -> None:
    digest = _constructs(world)
    world.start("r1", digest)
    world.drain()
    ran = len(world.executor.ran)
    world.client.flushall()
    world.engine, world.worker = world.new_engine(), world.new_worker("here:2")
    error = {"type": "ValueError", "message": "no luck with [1]", "traceback": "", "kind": "user"}
    failed = Adopted("failed", "1.1", {"status": "failed", "outputs": {}, "error": error})
    waits = Waits({"2": Answer(value(False)["value"], "ada", "")}, {"4": 4_102_444_800_000})
    more: dict[str, Any] = {"settled": lambda: {"0": failed}, "waits": lambda: waits}
    rebuild(world.engine, world.source("r1", digest, status="running", **more))
    assert {e["node"]: e["until_ms"] for e in world.events("r1", "step.parked")} == {"3": None, "4": 4_102_444_800_000}
    assert world.states()["2"] == "succeeded"
    answer(world.engine, "r1", {"3": Answer(value(7)["value"], "ada", "")})
    assert to_the_end(world)["error"]["path"] == "fail#0"
    assert world.executor.ran[ran:] == [], "what they made was there"


def test_a_failure_of_theirs_is_not_the_runs(world: World) -> None:
    digest = _watched(world, policy="fail_fast")
    del world.functions["tell"]
    world.start("r1", digest)
    world.drain()
    finished = world.finished()
    assert finished["error"]["path"] == "odd#0"
    assert (world.states()["2"], world.states()["3"]) == ("failed", "upstream_failed")


def test_a_run_that_took_too_long_tells_of_it(world: World) -> None:
    plan = Planned(options={"timeout_seconds": 5.0})
    plan.add("one")
    plan.add("tell", on_failure=True, failure={"failure": True})
    told: list[Any] = []
    world.functions["tell"] = lambda failure: told.append(failure["type"]) or 1
    world.start("r1", world.plan(plan))
    world.client.zadd(keys.INFLIGHT, {f"r1|{keys.TIMEOUT}": 1})
    overdue.sweep(world.engine, lambda: 0, lambda run: None, lambda run, nodes: {})
    world.drain()
    assert told == ["Timeout"]
    assert world.finished()["status"] == "failed"


def test_people_may_cancel_what_runs_on_a_failure_and_the_run_has_failed(world: World) -> None:
    world.start("r1", _watched(world))
    world.work()
    world.work()
    control(world.engine, "r1", "cancel")
    world.drain()
    assert world.finished()["status"] == "failed"
    assert (world.states()["2"], world.states()["3"]) == ("cancelled", "cancelled")


def test_a_crash_before_they_are_sent_loses_them_not(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.start("r1", _watched(world))
    with monkeypatch.context() as patch:
        patch.setattr("workers.engine.completing.finish", lambda *_: None)
        world.drain()
    assert world.finished() is None
    to_the_end(world)
    assert len(world.told) == 1  # type: ignore[attr-defined]


def test_what_they_did_is_not_done_again_after_redis_was_lost(world: World) -> None:
    digest = _watched(world)
    world.start("r1", digest)
    for _ in range(3):
        world.work()
    assert len(world.told) == 1  # type: ignore[attr-defined]
    world.client.flushall()
    world.queue.clear()
    rebuild(world.engine, world.source("r1", digest, status="running"))
    assert to_the_end(world)["status"] == "failed"
    assert len(world.told) == 1  # type: ignore[attr-defined]
