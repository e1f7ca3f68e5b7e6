"""The cache is asked before a message is sent, and one of two who need the same computes it."""

import itertools
from collections.abc import Callable

from tests.fixtures.growth import growth
from tests.integration.engine.harness import Planned, World, step, value
from workers.engine import keys


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
