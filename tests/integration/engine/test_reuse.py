"""A run that takes results over from an earlier one: what succeeded is settled at its start, the rest runs."""

from collections.abc import Iterator
from typing import Any

from tests.integration.engine.harness import Planned, Traced, World, step, value
from tests.integration.engine.traced import doubled
from tests.unit.app.specs import INT, spec, task
from tests.unit.app.specs import step as called_step
from tests.unit.app.specs import value as constant
from workers.engine import forget, keys
from workers.engine.settling import Adopted
from workers.engine.starting import rebuild

SETTLED = "step.settled"


def results(world: World, run: str) -> Iterator[tuple[str, str, Adopted]]:
    """What the record would say of a run that ended."""
    for event in world.events(run, SETTLED):
        if event["state"] in ("succeeded", "cached"):
            own = {name: event[name] for name in ("run", "path", "node", "token")}
            outcome = event["outcome"] | {"input_digests": event["input_digests"]}
            yield event["node"], event["path"], Adopted("cached", None, outcome, event["source"] or own)


def again(world: World, run: str, new: str, plan: str, **options: Any) -> None:
    source = {"reusable": lambda: results(world, run), "options": {"again": [], **options}}
    world.executor.ran.clear()
    world.start(new, plan, **source)


def _pipeline(world: World) -> str:
    """one -> odd, mapped over a list, one of whose items fails -> total; and a double beside."""
    plan = Planned()
    first = plan.add("one")
    mapped = plan.add("odd", map_over=["x"], x=value([1, 2, 3]), after=(first,))
    plan.add("total", items=step(mapped))
    plan.add("double", x=step(first))
    return world.plan(plan, result=step(2))


def test_below_a_body_that_traces_anew_only_what_was_given_the_same_is_taken_over(world: World) -> None:
    xs = [1, 2]
    world.functions |= {"doubled": lambda: doubled(xs), "odd": lambda x: 1 / 0}
    plan = Planned()
    made = plan.add("doubled", dynamic=True)
    plan.add("odd", x=step(made))
    digest = world.plan(plan, result=step(1))
    world.start("r1", digest)
    world.drain()
    below = [one for one in results(world, "r1") if one[0] != "0"]  # as if the dynamic step had failed
    xs[:] = [1, 20, 3]
    world.functions["odd"] = lambda x: x
    world.executor.ran.clear()
    world.start("r2", digest, reusable=lambda: below, options={"again": []})
    world.drain()
    assert world.output("r2") == 2 * (1 + 20 + 3)
    assert world.states("r2")["0/0"] == "cached"
    assert world.executor.ran == ["0", "0/1", "0/2", "0/3", "1"]


def test_what_succeeded_is_taken_over_and_of_a_map_the_failed_items_run_alone(world: World) -> None:
    digest = _pipeline(world)
    world.start("r1", digest)
    world.drain()
    assert world.finished()["status"] == "failed"
    world.functions["odd"] = lambda x: x
    again(world, "r1", "r2", digest)
    world.drain()
    assert world.executor.ran == ["1.1", "2"]
    assert world.output("r2") == 6
    assert world.states("r2") == {
        "0": "cached", "1": "succeeded", "1.0": "cached", "1.1": "succeeded", "1.2": "cached", "2": "succeeded",
        "3": "cached",
    }  # fmt: skip
    assert world.finished("r2")["counts"]["cached"] == 4
    (event,) = [e for e in world.events("r2", SETTLED) if e["node"] == "1.0"]
    assert event["source"] == {"run": "r1", "path": "odd#1[0]", "node": "1.0", "token": "1.1"}
    assert event["input_digests"], "the lineage of what is taken over stays whole"


def test_a_result_that_was_taken_over_keeps_the_source_that_computed_it(world: World) -> None:
    digest = _pipeline(world)
    world.start("r1", digest)
    world.drain()
    again(world, "r1", "r2", digest)
    world.drain()
    again(world, "r2", "r3", digest)
    world.drain()
    sources = {e["node"]: e["source"]["run"] for e in world.events("r3", SETTLED) if e["source"]}
    assert sources == dict.fromkeys(("0", "1.0", "1.2", "3"), "r1")


def test_a_chosen_step_runs_with_all_below_it_and_does_not_look_into_the_cache(world: World) -> None:
    plan = Planned()
    first = plan.add("one", cache=True)
    second = plan.add("double", x=step(first), cache=True)
    plan.add("double", x=step(second), cache=True)
    plan.add("one")
    digest = world.plan(plan, result=step(2))
    world.start("r1", digest)
    world.drain()
    again(world, "r1", "r2", digest, again=["double#1"])
    world.drain()
    assert world.executor.ran == ["1"], "what is below it has the same inputs, and its author says that this is enough"
    assert world.states("r2") == {"0": "cached", "1": "succeeded", "2": "cached", "3": "cached"}


def test_what_takes_a_changed_input_runs_again(world: World) -> None:
    plan = Planned()
    changed = plan.add("double", x={"input": "n"})
    plan.add("total", items={"list": [step(changed), {"input": "m"}]})
    plan.add("double", x={"input": "m"})
    digest = world.plan(plan, result=step(1))
    inputs = {"n": value(1)["value"], "m": value(5)["value"]}
    world.start("r1", digest, inputs=inputs)
    world.drain()
    source = {"reusable": lambda: results(world, "r1"), "options": {"again": [], "changed": ["n"]}}
    world.executor.ran.clear()
    world.start("r2", digest, inputs=inputs | {"n": value(2)["value"]}, **source)
    world.drain()
    assert world.executor.ran == ["0", "1"]
    assert world.output("r2") == 9


def test_a_redis_that_is_lost_takes_nothing_away_from_it(world: World) -> None:
    digest = _pipeline(world)
    world.start("r1", digest)
    world.drain()
    before = list(results(world, "r1"))
    world.functions["odd"] = lambda x: x
    again(world, "r1", "r2", digest)
    world.client.flushall()
    world.queue.clear()
    source = world.source("r2", digest, reusable=lambda: before, options={"again": []}, status="running")
    rebuild(world.engine, source)
    assert world.states("r2")["1.2"] == "cached"


def test_nothing_of_it_is_left_behind(world: World) -> None:
    digest = _pipeline(world)
    world.start("r1", digest)
    world.drain()
    again(world, "r1", "r2", digest)
    assert world.client.exists(keys.reuse("r2"))
    world.drain()
    forget(world.engine, "r2")
    assert not [key for key in world.client.keys("*") if b"r2" in key]


def _dynamic(world: World) -> str:
    """A dynamic step that calls `double` and then `fail`, and a double of what it came to."""
    called = {"interface": {"inputs": [], "outputs": [{"name": "result", "type": INT}]}}
    tasks = [task("double"), task("fail")]
    steps = [called_step("double", inputs={"x": constant(1)}), called_step("fail", inputs={"x": constant(2)})]
    result = {"result": {"step": "fail", "output": "result"}}
    world.functions["made"] = lambda xs: Traced(spec(tasks, steps, outputs=result, **called))
    plan = Planned()
    made = plan.add("made", dynamic=True, xs=value([1]))
    plan.add("double", x=step(made))
    return world.plan(plan, result=step(1))


def test_inside_a_dynamic_step_what_succeeded_is_found_again_by_its_path(world: World) -> None:
    digest = _dynamic(world)
    fail = world.functions["fail"]
    world.start("r1", digest)
    world.drain()
    assert world.states()["0/0"] == "succeeded"
    world.functions["fail"] = lambda x: x
    again(world, "r1", "r2", digest)
    world.drain()
    assert world.executor.ran == ["0", "0/1", "1"]
    assert world.states("r2") == {"0": "succeeded", "0/0": "cached", "0/1": "succeeded", "1": "succeeded"}
    assert world.output("r2") == 4
    world.functions["fail"] = fail
    again(world, "r2", "r3", digest, again=["double#1"])
    world.drain()
    assert world.executor.ran == ["1"], "a dynamic step that succeeded is taken over as a whole"
    assert world.output("r3") == 4
