"""Whatever the shape of a DAG, and whatever fails in it, a run comes to what one step after the other would."""

import random
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.engine.harness import Planned, World, step, value
from workers.engine import keys

_numbers = count()
Node = tuple[str, list[int]]


@st.composite
def dags(draw: st.DrawFn) -> list[Node]:
    """Steps by kind and parents: `odd` fails on even input, `map` doubles a list of its parents."""
    made: list[Node] = []
    for index in range(draw(st.integers(1, 14))):
        most = min(index, 4)
        parents = draw(st.lists(st.integers(0, index - 1), max_size=most, unique=True)) if index else []
        kind = draw(st.sampled_from(["add", "add", "odd", "map"]))
        made.append((kind, parents[:1] if kind == "odd" else parents))
    return made


def _planned(dag: list[Node], cache: bool) -> Planned:
    plan = Planned()
    for index, (kind, parents) in enumerate(dag):
        refs = [step(parent) for parent in parents] + [value(index)]
        if kind == "odd":
            plan.add("odd", cache=cache, x=refs[0])
        elif kind == "map":
            plan.add("total", cache=cache, items={"list": [value(1), value(2)]}, after=tuple(parents))
        else:
            plan.add("total", cache=cache, items={"list": refs})
    return plan


def _expected(dag: list[Node]) -> dict[str, Any]:
    """A sequential interpreter: each step's value, or `failed`, or `upstream_failed`."""
    found: dict[str, Any] = {}
    for index, (kind, parents) in enumerate(dag):
        values = [found[str(parent)] for parent in parents]
        if any(isinstance(one, str) for one in values):
            found[str(index)] = "upstream_failed"
        elif kind == "odd":
            given = values[0] if values else index
            found[str(index)] = given if given % 2 else "failed"
        else:
            found[str(index)] = 3 if kind == "map" else sum(values) + index
    return found


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(dag=dags(), cache=st.booleans(), seed=st.integers(0, 10_000), twice=st.booleans())
def test_a_run_comes_to_what_a_sequential_interpreter_does(
    world: World, dag: list[Node], cache: bool, seed: int, twice: bool
) -> None:
    world.client.flushdb()
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
    assert set(ends) == set(expected)
    finished = world.finished(run)
    assert finished["status"] == ("failed" if "failed" in expected.values() else "succeeded")
    assert finished["counts"]["total"] == len(dag)
    assert len(world.executor.ran) == len(set(world.executor.ran))
    assert world.client.zcard(keys.INFLIGHT) == 0


@pytest.mark.parametrize("width", [1, 17, 1_001])
def test_a_map_between_joins_comes_out_in_order(world: World, width: int) -> None:
    plan = Planned()
    numbers = plan.add("count", n=value(width))
    doubled = plan.add("double", map_over=["x"], x=step(numbers))
    again = plan.add("add", map_over=["a", "b"], a=step(doubled), b=step(numbers))
    world.run(plan, result=step(again))
    assert world.output() == [3 * n for n in range(width)]
