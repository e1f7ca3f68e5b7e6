"""Celery's chord hook as our thin adapter: what completes a step, what does not, and that it never raises."""

import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from billiard.exceptions import WorkerLostError
from celery import states
from celery.app.task import Context

from app.config import Config
from tests.integration.engine.harness import Planned, World, step, value
from workers.celery_app import CelestaApp, create
from workers.engine import ChordBackend, Ended, complete, keys
from workers.engine.backend import Outcomes
from workers.engine.kept import Kept
from workers.engine.publishing import Publisher
from workers.engine.scripts import SCRIPTS

OUTCOME = {"status": "succeeded", "outputs": {"result": value(1)["value"]}, "error": None, "metrics": []}


@pytest.fixture
def app(world: World) -> CelestaApp:
    config = Config(
        home=world.folder,
        database_url=f"sqlite:///{world.folder}/db",
        redis_url=world.redis_url,
        broker_url=world.redis_url,
        store_url=f"file://{world.folder}",
    )
    made = create(config)
    made.__dict__["engine"] = world.engine
    return made


@pytest.fixture
def outcomes(world: World) -> Outcomes:
    plan = Planned()
    first = plan.add("one")
    plan.add("double", x=step(first))
    world.start("r1", world.plan(plan))
    run, steps = world.queue.popleft()
    assert world.worker.claim(run, steps, lambda ended: None) is not None
    return Outcomes(run, (Ended("0", "1.1", OUTCOME),))


def test_the_result_backend_is_ours(app: CelestaApp) -> None:
    assert isinstance(app.backend, ChordBackend)


def test_a_step_is_completed_by_the_hook(world: World, app: CelestaApp, outcomes: Outcomes) -> None:
    app.backend.mark_as_done("id", outcomes, Context({"chord": 1, "ignore_result": True}), store_result=False)
    assert world.states() == {"0": "succeeded"}
    assert [steps for _, steps in world.queue] == [[["1", 1]]]


def test_without_the_chord_option_nothing_is_completed(world: World, app: CelestaApp, outcomes: Outcomes) -> None:
    app.backend.mark_as_done("id", outcomes, Context({"chord": None, "ignore_result": True}), store_result=False)
    assert world.states() == {}


@pytest.mark.parametrize("state", [states.FAILURE, states.REVOKED, states.RETRY, states.STARTED])
def test_no_other_state_completes_a_step(world: World, app: CelestaApp, outcomes: Outcomes, state: str) -> None:
    app.backend.on_chord_part_return(Context(), state, outcomes)
    assert world.states() == {}


@pytest.mark.parametrize("result", [None, {}, "done", {"run": "r1", "ended": []}, ValueError("no")])
def test_nothing_but_our_outcomes_completes_a_step(
    world: World, app: CelestaApp, outcomes: Outcomes, result: Any
) -> None:
    app.backend.on_chord_part_return(Context(), states.SUCCESS, result)
    assert world.states() == {}


def test_the_hook_never_raises(
    app: CelestaApp, outcomes: Outcomes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(*_: Any) -> None:
        raise RuntimeError("no Redis today")

    monkeypatch.setattr("workers.engine.backend.complete", breaks)
    monkeypatch.setattr("workers.engine.backend.expire", breaks)
    with caplog.at_level(logging.ERROR):
        app.backend.on_chord_part_return(Context(), states.SUCCESS, outcomes)
        app.backend.on_chord_part_return(Context(args=["r1", [["0", 1]]]), states.FAILURE, WorkerLostError())
        app.backend.on_chord_part_return(SimpleNamespace(), states.FAILURE, WorkerLostError())
    assert len(caplog.records) == 3


def test_a_lost_worker_settles_nothing(world: World, app: CelestaApp, outcomes: Outcomes) -> None:
    app.backend.on_chord_part_return(Context(args=["r1", [["0", 1]]]), states.FAILURE, WorkerLostError())
    assert world.states() == {}
    assert world.events("r1", "step.retry") == []


# Messages


def _messages(world: World, app: CelestaApp, batches: list[list[list[Any]]], run: str = "7zzzzzzzzzzzz") -> list[bytes]:
    Publisher(app)(run, batches)
    return list(world.client.lrange("steps", 0, -1))


def test_a_message_stays_small_however_many_steps_it_names(world: World, app: CelestaApp) -> None:
    from workers.engine.pace import BATCH_STEPS

    widest = [[f"9999.{10_000 + item}", 12] for item in range(BATCH_STEPS)]
    (message,) = _messages(world, app, [widest])
    assert len(message) <= 1_200, json.loads(message)


def test_many_messages_are_published_in_one_round_trip(world: World, app: CelestaApp) -> None:
    before = world.client.info("commandstats").get("cmdstat_lpush", {"calls": 0})["calls"]
    assert len(_messages(world, app, [[[str(n), 1]] for n in range(50)])) == 50
    assert world.client.info("commandstats")["cmdstat_lpush"]["calls"] - before == 50


def test_a_message_that_cannot_be_published_stays_in_flight(
    world: World, app: CelestaApp, caplog: pytest.LogCaptureFixture
) -> None:
    app.conf.broker_url = "redis+socket:///nowhere/at/all?virtual_host=0"
    world.engine.send = Publisher(app)
    plan = Planned()
    plan.add("one")
    world.start("r1", world.plan(plan))
    assert "left to the reconciler" in caplog.text
    assert world.client.zrange(keys.INFLIGHT, 0, -1) == [b"r1|0"]


# Round trips


def _counted(world: World) -> list[str]:
    """The round trips from now on; this Redis knows all scripts by then."""
    for script in SCRIPTS.values():
        world.client.script_load(script.text)
    calls: list[str] = []
    command, pipeline = world.client.execute_command, world.client.pipeline

    def counted_command(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments[0])
        return command(*arguments, **options)

    def counted_pipeline(**options: Any) -> Any:
        calls.append("pipeline")
        return pipeline(**options)

    world.client.execute_command = counted_command  # type: ignore[method-assign]
    world.client.pipeline = counted_pipeline  # type: ignore[method-assign]
    return calls


def test_a_plain_step_costs_one_round_trip_to_claim_and_one_to_complete(world: World) -> None:
    plan = Planned()
    first = plan.add("one")
    second = plan.add("double", x=step(first))
    plan.add("double", x=step(second))
    world.start("r1", world.plan(plan))
    world.work()
    calls = _counted(world)
    published = len(world.published)
    world.work()
    assert calls == ["EVALSHA", "EVALSHA"]
    assert len(world.published) - published == 1


def test_a_cached_step_of_a_chain_costs_three_round_trips_more(world: World) -> None:
    """To take its flight, to look up what follows it, and to write the cache."""
    plan = Planned()
    last = plan.add("one", cache=True)
    for _ in range(3):
        last = plan.add("double", x=step(last), cache=True)
    world.start("r1", world.plan(plan))
    world.work()
    calls = _counted(world)
    world.work()
    assert calls == ["EVALSHA", "pipeline", "HMGET", "EVALSHA", "pipeline"]


def test_the_flights_of_a_batch_are_taken_in_one_round_trip(world: World) -> None:
    plan = Planned()
    plan.add("double", map_over=["x"], cache=True, x=value([1, 2, 3]))
    world.start("r1", world.plan(plan))
    calls = _counted(world)
    ended: list[Ended] = []
    ended += world.worker.run("r1", [[f"0.{item}", 1] for item in range(3)], ended.extend)
    assert calls == ["EVALSHA", "pipeline"]
    complete(world.engine, "r1", ended)
    assert world.client.keys("celesta:flight:*") == []
    assert world.states() == {"0.0": "succeeded", "0.1": "succeeded", "0.2": "succeeded", "0": "succeeded"}


def test_a_worker_that_can_go_on_gets_one_ready_step_and_the_queue_the_others(world: World) -> None:
    plan = Planned()
    first = plan.add("one")
    for _ in range(3):
        plan.add("double", x=step(first))
    world.start("r1", world.plan(plan))
    ended = world.worker.run(*world.queue.popleft(), lambda ended: None)
    assert world.worker.leads_on("r1", ended)
    kept = Kept(world.worker.worker)
    complete(world.engine, "r1", ended, kept)
    assert (kept.node, kept.token) == ("1", "1.1")
    assert [steps for _, steps in world.queue] == [[["2", 1]], [["3", 1]]]
    ended = world.worker.go_on("r1", kept, lambda ended: None)
    assert not world.worker.leads_on("r1", ended), "nothing follows it"
    assert [event["worker"] for event in world.events("r1", "step.running")] == ["here:1", "here:1"]


@pytest.mark.parametrize(("cache", "calls"), [(False, ["EVALSHA"]), (True, ["EVALSHA", "pipeline"])])
def test_a_worker_goes_on_without_a_message_and_with_no_more_than_the_transition(
    world: World, cache: bool, calls: list[str]
) -> None:
    """A cached step writes the cache and takes the next flight, which looks into the cache as well."""
    plan = Planned()
    last = plan.add("one", cache=cache)
    for _ in range(3):
        last = plan.add("double", x=step(last), cache=cache)
    world.start("r1", world.plan(plan))
    ended = world.worker.run(*world.queue.popleft(), lambda ended: None)
    published = len(world.published)
    for _ in range(2):
        counted = _counted(world)
        kept = Kept(world.worker.worker)
        complete(world.engine, "r1", ended, kept)
        ended = world.worker.go_on("r1", kept, lambda ended: None)
        assert counted == calls
    assert len(world.published) == published
    assert world.events("r1", "step.running")[-1]["token"] == "1.1"


def test_a_worker_that_goes_on_meets_a_hit_when_it_takes_the_flight(world: World) -> None:
    def started(run: str, first: int) -> list[Ended]:
        plan = Planned()
        last = plan.add("size", cache=True, x=value(first))
        for _ in range(3):
            last = plan.add("double", x=step(last), cache=True)
        world.start(run, world.plan(plan))
        return world.worker.run(*world.queue.popleft(), lambda ended: None)

    world.functions["size"] = lambda x: abs(x)
    complete(world.engine, "r1", started("r1", 4))
    world.drain()
    world.executor.ran.clear()
    ended = started("r2", -4)
    kept = Kept(world.worker.worker)
    complete(world.engine, "r2", ended, kept)
    complete(world.engine, "r2", world.worker.go_on("r2", kept, lambda ended: None))
    assert world.executor.ran == ["0"]
    assert world.states("r2") == {"0": "succeeded", "1": "cached", "2": "cached", "3": "cached"}
    assert not world.queue
    assert world.client.keys("celesta:flight:*") == []


@pytest.mark.parametrize("control", ["pause", "cancel"])
def test_nothing_is_kept_of_a_run_that_is_told_to_stop(world: World, control: str) -> None:
    plan = Planned()
    plan.add("double", x=step(plan.add("one")))
    world.start("r1", world.plan(plan))
    ended = world.worker.run(*world.queue.popleft(), lambda ended: None)
    world.engine.call("control", "r1", control=control, lease=world.engine.lease_ms)
    kept = Kept(world.worker.worker)
    complete(world.engine, "r1", ended, kept)
    assert kept.node is None
    assert not world.queue
