"""Dynamic steps: what they trace becomes a part of the run, whatever is lost on the way."""

import json
from typing import Any

import pytest

from celesta.errors import StoreError
from celesta.store.base import result_key
from tests.integration.engine.harness import Planned, Traced, World, step, value
from tests.integration.engine.traced import FUNCTIONS
from workers.engine import control, keys, rebuild
from workers.engine.overdue import sweep


@pytest.fixture
def world(world: World) -> World:
    world.functions.update(FUNCTIONS)
    return world


def _plan(task: str, given: Any = (1, 2, 3), name: str = "xs") -> tuple[Planned, int]:
    plan = Planned()
    made = plan.add(task, dynamic=True, **{name: value(list(given) if name == "xs" else given)})
    return plan, plan.add("double", x=step(made))


def test_what_a_dynamic_step_traces_runs_below_it_before_it_ends(world: World) -> None:
    plan, last = _plan("doubled")
    finished = world.run(plan, result=step(last))
    assert world.output() == 24
    assert world.executor.ran == ["0", "0/0", "0/1", "0/2", "0/3", "1"]
    paths = {event["node"]: event["path"] for event in world.events("r1", "step.settled")}
    assert paths["0/0"] == "doubled#0/double#0"
    assert paths["0/3"] == "doubled#0/total"
    assert finished["counts"] == {"total": 6, "succeeded": 6, "cached": 0, "failed": 0, "skipped": 0, "cancelled": 0}
    assert world.client.zcard(keys.INFLIGHT) == 0


def test_the_record_is_told_what_was_opened_and_what_the_steps_are(world: World) -> None:
    plan, _ = _plan("doubled")
    world.run(plan)
    (opened,) = world.events("r1", "dynamic.opened")
    assert (opened["node"], opened["token"], opened["width"], opened["known"]) == ("0", "1.1", 4, 6)
    assert json.loads(world.store.get_blob(opened["plan"]))["workflow"] == "flow"
    tasks = {event["node"]: event.get("task") for event in world.events("r1", "step.settled")}
    assert (tasks["0"], tasks["0/0"], tasks["0/3"]) == (None, "double", "total")
    ended = next(e for e in world.events("r1", "step.settled") if e["node"] == "0")
    assert (ended["token"], ended["state"]) == ("1.1", "succeeded")
    assert ended["outcome"]["outputs"]["result"]["inline"] == 12


def test_a_dynamic_step_that_calls_nothing_is_like_any_other(world: World) -> None:
    plan, last = _plan("same")
    world.run(plan, result=step(last))
    assert world.output() == 12


def test_dynamic_steps_open_others(world: World) -> None:
    plan, last = _plan("countdown", 5, "n")
    world.run(plan, result=step(last))
    assert world.output() == 10
    assert "0/0/0/0/0/0" in world.executor.ran


def test_one_that_calls_itself_without_end_is_stopped_and_says_so(world: World) -> None:
    plan, _ = _plan("endless", 1, "n")
    finished = world.run(plan)
    assert finished["status"] == "failed"
    assert "32 deep" in finished["error"]["message"]
    assert '"endless"' in finished["error"]["message"]
    assert set(world.states().values()) == {"failed", "upstream_failed"}


def test_a_failure_below_fails_it_once_all_have_settled(world: World) -> None:
    plan, last = _plan("broken")
    finished = world.run(plan, result=step(last))
    states = world.states()
    assert (states["0/0"], states["0/1"], states["0"], states["1"]) == (
        "succeeded",
        "failed",
        "failed",
        "upstream_failed",
    )
    assert finished["error"]["path"] == "broken#0/fail"
    gathered = next(e for e in world.events("r1", "step.settled") if e["node"] == "0")
    assert "1 of its steps did not succeed" in gathered["outcome"]["error"]["message"]


@pytest.mark.parametrize(("task", "below"), [("broken", "fail"), ("broken_map", "fail[0]")])
def test_a_map_that_fails_by_what_its_items_opened_names_the_step_that_failed(
    world: World, task: str, below: str
) -> None:
    plan = Planned()
    plan.add(task, dynamic=True, map_over=["xs"], ratio=0.1, xs=value([[1], [2]]))
    error = world.run(plan)["error"]
    assert error["path"] == f"{task}#0"
    assert error["message"].startswith(f"2 of its items did not succeed; the first to fail was {task}#0[0]/{below}: ")
    assert error["message"].count("did not succeed") == 1


def test_what_cannot_run_fails_the_step_that_traced_it(world: World) -> None:
    plan, _ = _plan("wrong")
    finished = world.run(plan)
    assert finished["error"]["path"] == "wrong#0"
    assert "there is no task 'nothing'" in finished["error"]["message"]
    assert world.events("r1", "dynamic.opened") == []


def test_a_dynamic_step_brings_no_code_of_others(world: World) -> None:
    plan, _ = _plan("borrowed")
    finished = world.run(plan)
    assert finished["error"]["path"] == "borrowed#0"
    assert 'traced task "double" with a bundle of its own' in finished["error"]["message"]
    assert world.events("r1", "dynamic.opened") == []


def test_a_dynamic_step_calls_no_registered_workflow(world: World) -> None:
    plan, _ = _plan("referring")
    finished = world.run(plan)
    assert finished["error"]["path"] == "referring#0"
    assert "team/score@v2 (score)" in finished["error"]["message"]
    assert "call reference() in the workflow around it" in finished["error"]["message"]
    assert world.client.zcard(keys.INFLIGHT) == 0


def test_whatever_the_compiler_comes_to_is_the_failure_of_the_step(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(spec: Any) -> Any:
        raise ZeroDivisionError("by a step")

    monkeypatch.setattr("workers.engine.expanding.compile_plan", stumble)
    plan, _ = _plan("doubled")
    finished = world.run(plan)
    assert (finished["error"]["path"], finished["error"]["kind"]) == ("doubled#0", "user")
    assert "by a step" in finished["error"]["message"]


def test_maps_lie_in_each_other_by_mapping_a_dynamic_step(world: World) -> None:
    plan = Planned()
    each = plan.add("doubled", dynamic=True, map_over=["xs"], xs=value([[1, 2], [3], [4, 5, 6]]))
    total = plan.add("total", items=step(each))
    finished = world.run(plan, result=step(total))
    assert world.output() == 42
    assert world.states()["0.2/3"] == "succeeded"
    assert finished["counts"]["total"] == 3 + (3 + 2 + 4) + 1
    paths = {event["node"]: event["path"] for event in world.events("r1", "step.settled")}
    assert paths["0.2/1"] == "doubled#0[2]/double#1"


@pytest.mark.parametrize("twice", range(3))
def test_a_message_that_comes_twice_changes_nothing(world: World, twice: int) -> None:
    plan, last = _plan("doubled")
    world.start("r1", world.plan(plan, result=step(last)))
    for _ in range(20):
        if not world.queue:
            break
        message = world.queue[0]
        world.work()
        world.queue.append(message) if len(world.executor.ran) == twice + 1 else None
    world.drain()
    assert world.output() == 24
    assert len(world.executor.ran) == len(set(world.executor.ran))


def test_a_worker_that_dies_after_tracing_is_adopted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, last = _plan("doubled")
    world.start("r1", world.plan(plan, result=step(last)))
    run, steps = world.queue.popleft()
    world.worker.run(run, steps, lambda ended: None)  # and never says what came of it
    world.client.zadd(keys.INFLIGHT, dict.fromkeys(world.client.zrange(keys.INFLIGHT, 0, -1), 1))
    sweep(world.engine, lambda: 0, lambda run: None, lambda run, nodes: None)
    world.drain()
    assert world.output() == 24
    assert world.executor.ran.count("0") == 1


def test_a_store_that_does_not_answer_leaves_the_opening_for_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, last = _plan("doubled")
    world.start("r1", world.plan(plan, result=step(last)))
    with monkeypatch.context() as broken_store:
        traced = world.functions["doubled"]

        def then_break(xs: list[int]) -> Traced:
            def refuse(digest: str) -> bytes:
                raise StoreError("no answer")

            broken_store.setattr(type(world.store), "get_blob", lambda self, digest: refuse(digest))
            return traced(xs)

        world.functions["doubled"] = then_break
        world.work()
    assert world.states() == {}
    world.client.zadd(keys.INFLIGHT, dict.fromkeys(world.client.zrange(keys.INFLIGHT, 0, -1), 1))
    sweep(world.engine, lambda: 0, lambda run: None, lambda run, nodes: None)
    world.drain()
    assert world.output() == 24


@pytest.mark.parametrize("done", range(6))
def test_a_run_that_redis_lost_opens_its_plans_again(world: World, done: int) -> None:
    plan, last = _plan("doubled")
    digest = world.plan(plan, result=step(last))
    world.start("r1", digest)
    for _ in range(done):
        if world.queue:
            world.work()
    ran = list(world.executor.ran)
    world.client.flushdb()
    world.queue.clear()
    world.engine = world.new_engine()
    world.worker = world.new_worker("here:2")
    rebuild(world.engine, world.source("r1", digest, status="running"))
    for _ in range(30):
        world.drain()
        due = world.client.zrange(keys.INFLIGHT, 0, -1)
        if not due or world.finished():
            break
        world.client.zadd(keys.INFLIGHT, dict.fromkeys(due, 1))
        sweep(world.engine, lambda: 0, lambda run: None, lambda run, nodes: None)
    assert world.output() == 24
    assert all(world.executor.ran.count(node) == 1 for node in ran)


@pytest.mark.parametrize("done", range(5))
def test_cancelling_ends_what_is_below(world: World, done: int) -> None:
    plan, last = _plan("doubled", range(8))
    world.start("r1", world.plan(plan, result=step(last)))
    for _ in range(done):
        if world.queue:
            world.work()
    control(world.engine, "r1", "cancel")
    world.drain()
    finished = world.finished()
    assert finished is not None
    assert finished["status"] == "cancelled"
    assert world.client.zcard(keys.INFLIGHT) == 0
    (ended,) = (event for event in world.events("r1", "step.settled") if event["node"] == "0")
    assert "1.1" in (ended["token"], ended.get("left")), "its attempt ends with it"


@pytest.mark.parametrize("named", [5, "none", "not JSON"])
def test_an_attempt_that_names_nothing_to_open_fails_instead_of_waiting_for_ever(world: World, named: Any) -> None:
    plan, _ = _plan("doubled")
    world.start("r1", world.plan(plan))
    run, steps = world.queue.popleft()
    world.worker.run(run, steps, lambda ended: None)
    key = result_key("r1", "doubled#0", "1.1")
    named = world.store.put_blob(b"not JSON") if named == "not JSON" else named
    world.store.put(key, json.dumps(json.loads(world.store.get(key) or b"") | {"dynamic": named}).encode())
    _overdue(world)
    world.drain()
    assert world.states()["0"] == "failed"
    assert world.finished()["status"] == "failed"


@pytest.mark.parametrize("left", [b"[]", b"[" * 100_000])
def test_a_run_whose_step_left_a_document_of_no_form_stops_no_other(world: World, left: bytes) -> None:
    for run in ("r1", "r2"):
        world.start(run, world.plan(_plan("doubled")[0]))
        name, steps = world.queue.popleft()
        world.worker.run(name, steps, lambda ended: None)
    world.store.put(result_key("r1", "doubled#0", "1.1"), left)
    _overdue(world)
    world.drain()
    assert world.finished("r2")["status"] == "succeeded"


def _overdue(world: World) -> None:
    world.client.zadd(keys.INFLIGHT, dict.fromkeys(world.client.zrange(keys.INFLIGHT, 0, -1), 1))
    sweep(world.engine, lambda: 0, lambda run: None, lambda run, nodes: {})
