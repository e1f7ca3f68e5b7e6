"""The cache is asked before a message is sent, and one of two who need the same computes it."""

import itertools
import json
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from celesta.codecs.reach import blobs_within
from celesta.errors import StoreError
from tests.fixtures.growth import growth
from tests.integration.engine.harness import Planned, World, step, value
from workers.engine import caching, complete, keys, overdue
from workers.engine.completing import promote, wake


def _chain(length: int) -> tuple[Planned, int]:
    plan = Planned()
    last = plan.add("one", cache=True)
    for _ in range(length - 1):
        last = plan.add("double", cache=True, x=step(last))
    return plan, last


def test_a_second_run_is_answered_without_a_message(world: World) -> None:
    plan, last = _chain(4)
    world.run(plan, "r1", result=step(last))
    world.published.clear()
    finished = world.run(plan, "r2", result=step(last))
    assert world.output("r2") == 8
    assert finished["counts"]["cached"] == 4
    assert world.published == []


def test_a_hit_names_the_step_that_made_it(world: World) -> None:
    plan, _ = _chain(1)
    world.run(plan, "r1")
    world.run(plan, "r2")
    (event,) = world.events("r2", "step.settled")
    assert event["source"] == {"run": "r1", "path": "one#0", "node": "0", "token": "1.1"}
    assert event["cache_key"] == world.events("r1", "step.settled")[0]["cache_key"]
    assert event["outcome"]["outputs"] == world.events("r1", "step.settled")[0]["outcome"]["outputs"]


def test_only_what_differs_is_computed_again(world: World) -> None:
    for run, extra in (("r1", [1, 2]), ("r2", [1, 2, 3])):
        plan = Planned()
        mapped = plan.add("double", map_over=["x"], cache=True, x=value(extra))
        total = plan.add("total", cache=True, items=step(mapped))
        world.executor.ran.clear()
        world.run(plan, run, result=step(total))
    assert world.executor.ran == ["0.2", "1"]
    assert world.output("r2") == 12
    assert world.finished("r2")["counts"]["cached"] == 2


def test_a_failure_is_not_cached(world: World) -> None:
    plan = Planned()
    plan.add("fail", cache=True, x=value(1))
    world.run(plan, "r1")
    world.executor.ran.clear()
    world.run(plan, "r2")
    assert world.executor.ran == ["0"]


def test_no_cache_computes_all_and_writes_nothing(world: World) -> None:
    plan, _ = _chain(2)
    world.start("r1", world.plan(plan), options={"no_cache": True})
    world.drain()
    assert world.finished("r1")["counts"]["succeeded"] == 2
    assert world.client.exists(keys.cache("p")) == 0


def test_refresh_computes_all_and_writes_the_new(world: World) -> None:
    plan, _ = _chain(2)
    world.run(plan, "r1")
    world.start("r2", world.plan(plan), options={"refresh": True})
    world.drain()
    assert world.finished("r2")["counts"]["succeeded"] == 2
    sources = [value for _, value in world.client.hscan_iter(keys.cache("p"))]
    assert all(b'"run": "r2"' in source for source in sources)


def test_two_runs_that_need_the_same_at_once_compute_it_once(world: World) -> None:
    plan, last = _chain(2)
    digest = world.plan(plan, result=step(last))
    world.start("r1", digest)
    world.start("r2", digest)
    second = world.queue[1]
    others: list[str] = []

    def meanwhile(document: dict[str, object]) -> None:
        if not others:
            others.append("tried")
            world.queue.remove(second)
            world.queue.appendleft(second)
            other = world.new_worker("there:2")
            assert other.run(*world.queue.popleft(), lambda ended: None) == []

    world.executor.before = meanwhile
    world.drain()
    assert others
    assert world.executor.ran == ["0", "1"]
    assert world.output("r1") == world.output("r2") == 2
    assert sum(world.finished(run)["counts"]["cached"] for run in ("r1", "r2")) == 2
    waited = {(e["node"], e["token"], e.get("left")) for e in world.events("r2", "step.settled")}
    assert waited == {("0", None, "1.1"), ("1", "1.1", None)}, "the attempt at the first gave way"
    assert world.client.keys("celesta:flight:*") == []


def test_equal_items_of_one_map_are_computed_once(world: World) -> None:
    plan = Planned()
    mapped = plan.add("double", map_over=["x"], cache=True, x=value([4, 4, 4]))
    world.run(plan, result=step(mapped))
    assert world.output() == [8, 8, 8]
    assert world.executor.ran == ["0.0"]


def test_a_chain_of_hits_grows_with_its_steps_and_no_faster(world: World) -> None:
    runs = (f"r{number}" for number in itertools.count(1))
    world.functions["double"] = lambda x: (2 * x) % 1_000_003

    def hitting(length: int) -> Callable[[], None]:
        plan, last = _chain(length)
        digest = world.plan(plan, result=step(last))
        world.start(next(runs), digest)
        world.drain()
        run = next(runs)

        def work() -> None:
            world.start(run, digest)
            assert world.finished(run)["counts"]["cached"] == length

        return work

    assert growth(hitting, 200, 2_000) < 4


def test_no_cache_and_refresh_may_be_for_single_steps(world: World) -> None:
    plan, last = _chain(4)
    world.run(plan, "r1", result=step(last))
    for run, options, computed in (
        ("r2", {"refresh": ["double#1"]}, ["1"]),
        ("r3", {"no_cache": ["one#0", "double#3"]}, ["0", "3"]),
    ):
        world.executor.ran.clear()
        world.start(run, world.plan(plan, result=step(last)), options=options)
        world.drain()
        assert world.executor.ran == computed
        assert world.output(run) == 8
    index = [json.loads(text)["run"] for _, text in world.client.hscan_iter(keys.cache("p"))]
    assert sorted(index) == ["r1", "r1", "r1", "r2"]


def test_a_result_past_its_lifetime_is_computed_anew(world: World) -> None:
    plan = Planned()
    plan.add("one", cache={"ttl_seconds": 60})
    world.run(plan, "r1")
    ((key, text),) = world.client.hscan_iter(keys.cache("p"))
    world.run(plan, "r2")
    assert world.executor.ran == ["0"]
    entry = json.loads(text)
    world.client.hset(keys.cache("p"), key, json.dumps(entry | {"at_ms": entry["at_ms"] - 61_000}))
    world.run(plan, "r3")
    assert world.executor.ran == ["0", "0"]
    assert world.finished("r3")["counts"]["succeeded"] == 1


@pytest.mark.parametrize(
    "output",
    ["x" * 5_000, ["y" * 5_000], [f"{number}" * 3_000 for number in range(20)], {"inside": ["x" * 5_000] * 20}],
    ids=["value", "list", "long-list", "nested-list"],
)
def test_a_hit_whose_bytes_are_gone_is_computed_again_and_is_a_hit_then(world: World, output: object) -> None:
    world.functions["one"] = lambda: output
    plan = Planned()
    plan.add("one", cache=True)
    world.run(plan, "r1")
    (ref,) = world.events("r1", "step.settled")[0]["outcome"]["outputs"].values()
    lost = list(blobs_within([ref], world.store))[-1]
    world.store.delete(f"blobs/sha256/{lost[:2]}/{lost}")
    world.run(plan, "r2")
    assert world.finished("r2")["counts"]["succeeded"] == 1
    assert world.store.has_blob(lost)
    world.run(plan, "r3")
    assert world.finished("r3")["counts"]["cached"] == 1


def test_small_values_ask_nothing_of_the_store(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, last = _chain(3)
    world.run(plan, "r1", result=step(last))
    digest = world.plan(plan, result=step(last))
    monkeypatch.setattr(type(world.store), "has_blob", lambda *_: pytest.fail("asked the store"))
    world.start("r2", digest)
    assert world.finished("r2")["counts"]["cached"] == 3


def test_a_store_that_does_not_answer_makes_a_hit_neither_a_hit_nor_a_miss(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.functions["one"] = lambda: "x" * 5_000
    plan = Planned()
    plan.add("one", cache=True)
    world.run(plan, "r1")
    digest = world.plan(plan)
    with monkeypatch.context() as broken:

        def fail(*_: object) -> bool:
            raise StoreError("does not answer")

        broken.setattr(type(world.store), "has_blob", fail)
        world.start("r2", digest)
        assert world.executor.ran == ["0"]
        assert world.events("r2", "step.settled") == []
    assert len(list(world.client.hscan_iter(keys.cache("p")))) == 1


def _fail(*_: object) -> Any:
    raise StoreError("does not answer")


def _two_items(world: World) -> list[list[Any]]:
    """A run of two large cached items, none of which was found in the cache."""
    world.functions["large"] = lambda x: str(x) * 5_000
    plan = Planned()
    plan.add("large", map_over=["x"], cache=True, x=value([1, 2]))
    world.start("r1", world.plan(plan))
    world.queue.clear()
    return [["0.0", 1], ["0.1", 1]]


def test_an_item_whose_hit_cannot_be_looked_at_waits_and_the_others_of_its_message_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    items, plan = _two_items(world), Planned()
    plan.add("large", cache=True, x=value(2))
    world.run(plan, "r2")
    with monkeypatch.context() as broken:
        broken.setattr(type(world.store), "has_blob", _fail)
        ended = world.worker.run("r1", items, lambda ended: None)
    assert [one.node for one in ended] == ["0.0"]
    complete(world.engine, "r1", ended)
    assert world.client.keys("celesta:flight:*") == []
    wake(world.engine, ["r1|0.1"])
    assert world.states("r1") == {"0.0": "succeeded", "0.1": "cached", "0": "succeeded"}


@pytest.mark.parametrize("status", ["queued", "running"])
@pytest.mark.parametrize("map_over", [None, ["x"]])
def test_first_steps_and_items_that_cannot_be_looked_up_are_asked_again(
    world: World, monkeypatch: pytest.MonkeyPatch, map_over: list[str] | None, status: str
) -> None:
    """Also in a rebuild."""
    world.functions["large"] = lambda x: str(x) * 5_000
    plan = Planned()
    plan.add("large", map_over=map_over, cache=True, x=value([1, 2]))
    world.run(plan, "r1")
    ran, digest = list(world.executor.ran), world.plan(plan)
    with monkeypatch.context() as broken:
        broken.setattr(type(world.store), "has_blob", _fail)
        world.start("r2", digest, status=status)
    assert world.client.hget(keys.meta("r2"), "opening") == b"0"
    while in_flight := world.client.zrange(keys.INFLIGHT, 0, -1):
        world.client.zadd(keys.INFLIGHT, dict.fromkeys(in_flight, 1))
        overdue.sweep(world.engine, lambda: 0, lambda run: None, lambda run, nodes: {})
    assert world.finished("r2")["counts"]["cached"] == len(ran)
    assert world.executor.ran == ran


def test_a_flight_that_lands_wakes_nobody_who_waits_for_its_next_attempt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, others = Planned(), world.new_worker("here:2")
    plan.add("fail", cache=True, retries=1, retry={"backoff_seconds": 60.0}, x=value(1))
    for run in ("r1", "r2"):
        world.start(run, world.plan(plan))
    asked: list[Any] = []
    with monkeypatch.context() as slow:
        slow.setattr(caching, "wait", lambda *given: asked.append(given))
        world.executor.before = lambda document: asked or others.run(*world.queue.popleft(), lambda ended: None)
        world.work()
    caching.wait(*asked[0])  # only now, when the flight that it gave way to has landed
    world.client.zadd(keys.INFLIGHT, {"r2|0": 1})
    promote(world.engine, "r2", ["0"])
    world.work()
    assert world.queue == deque(), "its own flight has landed"
    wake(world.engine, ["r2|0"])
    assert world.client.hget(keys.states("r2"), "0").startswith(b"backoff|")


def test_an_item_whose_inputs_cannot_be_had_at_its_turn_keeps_no_flight(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = _two_items(world)
    take = caching.take
    with monkeypatch.context() as broken:

        def taken(*given: Any) -> Any:
            broken.setattr(world.engine.resolver, "inputs", _fail)
            return take(*given)

        broken.setattr(caching, "take", taken)
        ended = world.worker.run("r1", items, lambda ended: None)
    assert complete(world.engine, "r1", ended) == ["retry", "retry"]
    assert world.client.keys("celesta:flight:*") == []


def test_what_the_organisation_shares_answers_another_project_and_names_its_own(world: World) -> None:
    plan = Planned()
    plan.add("one", cache={"scope": "organisation"})
    plan.add("two", cache=True)
    world.functions["two"] = lambda: 2
    world.run(plan, "r1")
    world.executor.ran.clear()
    world.start("r2", world.plan(plan), project="q")
    world.drain()
    assert world.executor.ran == ["1"]
    hit, computed = world.events("r2", "step.settled")
    assert hit["source"] == {"run": "r1", "path": "one#0", "node": "0", "token": "1.1", "project": "p"}
    assert "scope" not in computed
    assert {event.get("scope") for event in world.events("r1", "step.settled")} == {None, "organisation"}
