"""Whatever the shape of a DAG, and whatever fails in it, a run comes to what one step after the other would."""

import random
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from celesta.codecs import to_plain
from tests.integration.engine.harness import Planned, World, step, value
from tests.integration.engine.traced import FUNCTIONS
from workers.engine import keys

_numbers = count()
Node = tuple[str, list[int], tuple[int, bool] | None]
LISTS = ("nest", "gap")
SKIPPED, FAILED, UPSTREAM = "skipped", "failed", "upstream_failed"


@st.composite
def dags(draw: st.DrawFn) -> list[Node]:
    """Steps by kind, parents and guard.

    `odd` fails on even input, `map` doubles a list of its parents, `branch` asks for more than twenty or three, and
    `grow` traces more steps (see `burst`), `nest` maps that over a list, `gap` is a map of which half may fail,
    `merge` takes its second parent when the branch, its first, came out true, else its third.
    """
    made: list[Node] = []
    for index in range(draw(st.integers(1, 16))):
        kind = draw(st.sampled_from(["add", "add", "odd", "map", "branch", "branch", "merge", "grow", "nest", "gap"]))
        branches = [at for at, (one, _, _) in enumerate(made) if one == "branch"]
        values = [at for at in range(index) if made[at][0] not in ("branch", *LISTS)]
        most = {"odd": 1, "branch": 1, "merge": 2, "grow": 1}.get(kind, 4)
        parents = draw(st.lists(st.sampled_from(values), max_size=most, unique=True)) if values else []
        if kind == "merge" and branches and parents:
            parents = [draw(st.sampled_from(branches)), *parents]
        elif kind == "merge":
            kind = "add"
        guarded = bool(branches) and draw(st.booleans())
        guard = (draw(st.sampled_from(branches)), draw(st.booleans())) if guarded else None
        made.append((kind, parents, guard))
    return made


def _planned(dag: list[Node], cache: bool) -> Planned:
    plan = Planned()
    for index, (kind, parents, guard) in enumerate(dag):
        refs = [step(parent) for parent in parents] + [value(index)]
        if kind == "odd":
            plan.add("odd", cache=cache, guard=guard, x=refs[0])
        elif kind == "branch":
            test, inputs = _test(refs[0])
            plan.branch(test, guard=guard, **inputs)
        elif kind == "merge":
            sides = dict(zip(("then", "otherwise"), refs[1:-1], strict=False))
            plan.merge(parents[0], guard=guard, **sides)
        elif kind == "grow":
            plan.add("burst", dynamic=True, guard=guard, x=refs[0])
        elif kind == "nest":
            plan.add("burst", dynamic=True, guard=guard, map_over=["x"], x=value([*range(index)]), after=tuple(parents))
        elif kind == "gap":
            given = value([index, index + 1, index + 2])
            plan.add("odd", guard=guard, map_over=["x"], ratio=0.3, x=given, after=tuple(parents))
        elif kind == "map":
            items = {"list": [value(1), value(2)]}
            plan.add("total", cache=cache, guard=guard, items=items, after=tuple(parents))
        else:
            plan.add("total", cache=cache, guard=guard, items={"list": refs})
    return plan


def _test(ref: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The test of a branch, over its parent: more than twenty, or just three."""
    inputs = {"given": ref, "twenty": value(20), "three": value(3)}
    more, three = ({"test": name, "of": ["given", one]} for name, one in (("gt", "twenty"), ("eq", "three")))
    return {"test": "or", "of": [more, three]}, inputs


def _expected(dag: list[Node]) -> dict[str, Any]:
    """A sequential interpreter: each step's value, or how it ended without one."""
    found: dict[str, Any] = {}
    for index, (kind, parents, guard) in enumerate(dag):
        above = [found[str(parent)] for parent in parents]
        verdict = _verdict(kind, above, None if guard is None else (found[str(guard[0])], guard[1]))
        found[str(index)] = verdict or _value(index, kind, above, len(parents))
    return found


def _verdict(kind: str, above: list[Any], guard: tuple[Any, bool] | None) -> str | None:
    ends = [one for one in [*above, *([guard[0]] if guard else [])] if isinstance(one, str)]
    if FAILED in ends or UPSTREAM in ends:
        return UPSTREAM
    if guard is not None and guard[0] is not guard[1]:
        return SKIPPED
    return SKIPPED if SKIPPED in ends and kind != "merge" else None


def _burst(x: int) -> Any:
    return x if x <= 3 else 2 + 2 * x if x % 2 else FAILED


def _value(index: int, kind: str, above: list[Any], parents: int) -> Any:
    given = above[0] if parents else index
    if kind == "odd":
        return given if given % 2 else FAILED
    if kind == "grow":
        return _burst(given)
    if kind == "nest":
        made = [_burst(x) for x in range(index)]
        return FAILED if FAILED in made else made
    if kind == "gap":
        return [x if x % 2 else None for x in range(index, index + 3)]
    if kind == "branch":
        return given > 20 or given == 3
    if kind == "merge":
        sides = above[1:]
        taken = sides[:1] if given is True else sides[1:] if given is False else []
        return taken[0] if taken else SKIPPED
    return 3 if kind == "map" else sum(above) + index


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(dag=dags(), cache=st.booleans(), seed=st.integers(0, 10_000), twice=st.booleans())
def test_a_run_comes_to_what_a_sequential_interpreter_does(
    world: World, dag: list[Node], cache: bool, seed: int, twice: bool
) -> None:
    world.client.flushdb()
    world.functions.update(FUNCTIONS)
    world.executor.ran.clear()
    world.engine = world.new_engine()
    world.worker = world.new_worker("here:1")
    digest = world.plan(_planned(dag, cache))
    order = random.Random(seed)
    run = f"r{next(_numbers)}"
    world.start(run, digest)
    while world.queue:
        at = order.randrange(len(world.queue))
        message = world.queue[at]
        del world.queue[at]
        world.queue.appendleft(message)
        if twice and order.random() < 0.4:
            world.queue.append(message)
        world.work()
    expected = _expected(dag)
    ends = world.states(run)
    for node, end in expected.items():
        wanted = {end} if isinstance(end, str) else {"succeeded", "cached"}
        assert ends[node] in wanted, (node, end, ends)
    assert {node: one for node, one in _values(world, run).items() if node in expected and one is not None} == {
        node: end for node, end in expected.items() if not isinstance(end, str)
    }
    assert {node for node in ends if node.isdigit()} == set(expected)
    finished = world.finished(run)
    assert finished["status"] == ("failed" if FAILED in expected.values() else "succeeded")
    in_place = {str(at) for at, (kind, _, _) in enumerate(dag) if kind in ("branch", "merge")}
    whole = {event["node"] for event in world.events(run, "map.opened")}
    whole |= {node for node, end in expected.items() if end == []}
    uncounted = whole | {node for node in in_place if expected[node] != FAILED}
    assert finished["counts"]["total"] == len(ends) - len(uncounted)
    assert len(world.executor.ran) == len(set(world.executor.ran))
    assert world.client.zcard(keys.INFLIGHT) == 0


def _values(world: World, run: str) -> dict[str, Any]:
    """What each step that succeeded made."""
    settled = [event for event in world.events(run, "step.settled") if event["state"] in ("succeeded", "cached")]
    outputs = {event["node"]: event["outcome"]["outputs"] for event in settled}
    return {node: to_plain(made["result"], world.store) for node, made in outputs.items() if made}


@pytest.mark.parametrize("width", [1, 17, 1_001])
def test_a_map_between_joins_comes_out_in_order(world: World, width: int) -> None:
    plan = Planned()
    numbers = plan.add("count", n=value(width))
    doubled = plan.add("double", map_over=["x"], x=step(numbers))
    again = plan.add("add", map_over=["a", "b"], a=step(doubled), b=step(numbers))
    world.run(plan, result=step(again))
    assert world.output() == [3 * n for n in range(width)]
