"""Who waits for places of limits gets them: none is kept that somebody could use, and no two wait for each other."""

import json
import math
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.engine.harness import Planned, World, value
from workers.engine import control, keys, rebuild
from workers.engine.advancing import top_up
from workers.engine.pace import CAREFUL

NAMES = ("gpu", "lic", "disk")
PROJECT = f"{keys.LIMITS}:p"
_numbers = count()


@dataclass(frozen=True)
class Wanted:
    """A step, or a map (of `width` items), and what limits it; `follows`: it has the one before it as its parent."""

    limits: tuple[str, ...] = ()
    width: int = 0
    concurrency: int | None = None
    follows: bool = False


@dataclass
class Floor:
    """Runs of one project whose steps are at work, in the order in which a test lets them end."""

    world: World
    runs: list[str] = field(default_factory=list)

    def size(self, **places: int) -> None:
        """As the reconciler tells it; what is in use already goes on."""
        self.world.client.hset(PROJECT, mapping=dict(places))
        for run in self.runs:
            top_up(self.world.engine, run)

    def start(self, *wanted: Wanted, most: int | None = None) -> str:
        plan, run = Planned(), f"r{next(_numbers):04}"
        for one in wanted:
            after = (len(plan.steps) - 1,) if one.follows and plan.steps else ()
            given: Any = list(range(one.width)) if one.width else 1
            over, most_items = (["x"], one.concurrency) if one.width else (None, None)
            plan.add("double", after=after, limits=one.limits, map_over=over, concurrency=most_items, x=value(given))
        self.runs.append(run)
        self.world.start(run, self.world.plan(plan), options={} if most is None else {"max_parallel": most})
        return run

    def at_work(self) -> list[str]:
        return [f"{run}|{node}" for run, steps in self.world.queue for node, _ in steps]

    def end(self, step: str) -> None:
        """One step that is at work ends."""
        at = self.at_work().index(step)
        self.world.queue.rotate(-at)
        self.world.work()
        self.world.queue.rotate(at)

    def idle(self) -> list[str]:
        """Ready steps of which each limit has a place that nobody has, of runs that are not paused.

        The last of several places of a run is for the set of limits for which it waits longest.
        """
        client, found = self.world.client, list[str]()
        for run in self.runs:
            lanes = {name.decode(): text.decode() for name, text in client.hgetall(keys.limits(run)).items()}
            going = client.hget(keys.meta(run), "control") == b"run"
            for node in client.zrange(keys.ready(run), 0, -1) if going else ():
                lane = lanes.get(node.decode().partition(".")[0], lanes.get("*", "0"))
                limits = [limit for limit in lanes.get(f"#{lane}", "").split(",") if limit]
                last = self.leaves_last(run, ",".join(limit for limit in limits if limit.startswith("@")))
                left = {limit: 1 for limit in limits if last and limit.startswith("run:") and limit != "run:1"}
                if all(self.free(run, limit) > left.get(limit, 0) for limit in limits):
                    found.append(f"{run}|{node.decode()} {limits}")
        return found

    def leaves_last(self, run: str, these: str) -> bool:
        """Whether the run stands in line for other limits, and for longer."""
        client = self.world.client
        since = json.loads(client.hget(keys.limits(run), "~") or "{}")
        in_line = [limits for limits in since if client.zscore(f"{PROJECT}:line:{limits}", run) is not None]
        come = [limits for limits in in_line if all(int(client.hget(PROJECT, n[1:]) or 0) for n in limits.split(","))]
        return any(limits != these and since[limits] <= since.get(these, math.inf) for limits in come)

    def free(self, run: str, limit: str) -> int:
        client, (name, _, most) = self.world.client, limit.partition(":")
        if most:
            return int(most) - int(client.hget(keys.counts(run), f"^{name}") or 0)
        return int(client.hget(PROJECT, limit[1:]) or 0) - int(client.scard(f"{PROJECT}:{limit}"))


WANTED = st.builds(
    Wanted,
    limits=st.sets(st.sampled_from(NAMES)).map(lambda names: tuple(sorted(names))),
    width=st.sampled_from([0, 0, 0, 3]),
    concurrency=st.sampled_from([None, 1, 2]),
    follows=st.booleans(),
)
START = st.tuples(st.just("start"), st.sampled_from([None, None, 1, 2]), st.lists(WANTED, min_size=1, max_size=4))
END = st.tuples(st.just("end"), st.integers(0, 40), st.none())
CONTROL = st.tuples(st.sampled_from(["pause", "run"]), st.integers(0, 4), st.none())
SIZE = st.tuples(st.just("size"), st.sampled_from(NAMES), st.integers(0, 3))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.tuples(*[st.integers(0, 2)] * 3),
    moves=st.lists(st.one_of(START, END, END, END, CONTROL, SIZE), min_size=4, max_size=30),
)
def test_no_place_is_idle_that_a_ready_step_could_use(
    world: World, sizes: tuple[int, int, int], moves: list[Any]
) -> None:
    world.client.flushall()
    world.queue.clear()
    floor = Floor(world)
    floor.size(**dict(zip(NAMES, sizes, strict=True)))
    for what, which, more in moves:
        if what == "start" and len(floor.runs) < 5:
            floor.start(*more, most=which)
        elif what == "end" and floor.at_work():
            floor.end(floor.at_work()[which % len(floor.at_work())])
        elif what == "size":
            floor.size(**{which: more})
        elif what in ("pause", "run") and floor.runs:
            control(world.engine, floor.runs[which % len(floor.runs)], what)
        assert floor.idle() == []
    floor.size(gpu=1, lic=1, disk=1)
    for run in floor.runs:
        control(world.engine, run, "run")
    while floor.at_work():
        floor.end(floor.at_work()[0])
        assert floor.idle() == []
    assert [world.finished(run)["status"] for run in floor.runs] == ["succeeded"] * len(floor.runs)
    assert world.client.keys(f"{PROJECT}:*") == []


def test_two_runs_that_want_two_limits_never_wait_for_each_other(world: World) -> None:
    floor = Floor(world)
    floor.size(gpu=1, lic=1)
    on_gpu, on_lic = floor.start(Wanted(("gpu",))), floor.start(Wanted(("lic",)))
    first = floor.start(Wanted(("gpu", "lic")), Wanted(("gpu",)))
    second = floor.start(Wanted(("gpu", "lic")))
    floor.end(f"{on_gpu}|0")
    assert floor.at_work() == [f"{on_lic}|0", f"{first}|1"], "its other step gets the gpu, while the licence is taken"
    floor.end(f"{on_lic}|0")
    floor.end(f"{first}|1")
    assert floor.at_work() == [f"{first}|0"], "it came first to wait for both"
    floor.end(f"{first}|0")
    assert floor.at_work() == [f"{second}|0"]


def test_a_run_that_may_have_no_more_at_work_keeps_no_place_and_its_turn(world: World) -> None:
    floor = Floor(world)
    floor.size(gpu=1)
    ahead = floor.start(Wanted(("gpu",)))
    busy = floor.start(Wanted(), Wanted(("gpu",)), most=1)
    assert floor.at_work() == [f"{ahead}|0", f"{busy}|0"]
    second, third = floor.start(Wanted(("gpu",))), floor.start(Wanted(("gpu",)))
    floor.end(f"{ahead}|0")
    assert floor.at_work() == [f"{busy}|0", f"{second}|0"]
    floor.end(f"{busy}|0")
    floor.end(f"{second}|0")
    assert floor.at_work() == [f"{busy}|1"], "it waits for longer than the third"
    floor.end(f"{busy}|1")
    assert floor.at_work() == [f"{third}|0"]


@pytest.mark.parametrize(
    ("others", "most"),
    [(Wanted(), None), (Wanted(("disk",)), None), (Wanted(), 2), (Wanted(("disk",)), 8)],
)
def test_a_run_with_many_other_steps_gets_a_contended_place_when_it_is_its_turn(
    world: World, others: Wanted, most: int | None
) -> None:
    floor = Floor(world)
    floor.size(gpu=1, disk=1000)
    ahead = floor.start(*[Wanted(("gpu",))] * 5)
    behind = floor.start(Wanted(("gpu",)), *[others] * 60, most=most)
    first, *at_work = floor.at_work()
    assert len(at_work) == (most or CAREFUL["window"]) - 1, "a place is left for the step that waits"
    floor.end(first)
    assert {*floor.at_work()} == {*at_work, f"{ahead}|1"}, "it began to wait before the other"
    floor.end(f"{ahead}|1")
    assert {*floor.at_work()} == {*at_work, f"{behind}|0"}
    floor.end(f"{behind}|0")
    assert f"{ahead}|2" in floor.at_work()


def test_a_run_leaves_no_place_to_a_step_whose_limit_has_none(world: World) -> None:
    floor = Floor(world)
    floor.size(gpu=0)
    floor.start(Wanted(width=3), Wanted(("gpu",)), most=2)
    assert len(floor.at_work()) == 2


def test_a_run_leaves_no_place_to_a_step_that_waits_for_its_own(world: World) -> None:
    floor = Floor(world)
    floor.size(gpu=1)
    run = floor.start(Wanted(("gpu",)), Wanted(("gpu",)), *[Wanted()] * 3, most=2)
    assert floor.at_work() == [f"{run}|0", f"{run}|2"]


def test_a_map_that_has_as_many_items_at_work_as_it_may_keeps_no_place(world: World) -> None:
    floor = Floor(world)
    floor.size(gpu=2)
    ahead = floor.start(Wanted(("gpu",)))
    mapped = floor.start(Wanted(("gpu",), width=3, concurrency=1))
    other = floor.start(Wanted(("gpu",)))
    assert floor.at_work() == [f"{ahead}|0", f"{mapped}|0.0"]
    floor.end(f"{ahead}|0")
    assert floor.at_work() == [f"{mapped}|0.0", f"{other}|0"]


def test_a_paused_run_leaves_its_place_to_the_next_at_once(world: World) -> None:
    floor = Floor(world)
    floor.size(gpu=1, lic=0)
    first, second, _ = (floor.start(Wanted(("gpu",)), Wanted(("lic",))) for _ in range(3))
    world.client.hset(PROJECT, "lic", 1)
    control(world.engine, first, "pause")
    assert floor.at_work() == [f"{first}|0", f"{second}|1"]
    floor.end(f"{first}|0")
    assert floor.at_work() == [f"{second}|1", f"{second}|0"], "each set of limits has turns of its own"


def test_a_run_that_is_rebuilt_leaves_the_lines_of_its_older_epoch(world: World) -> None:
    floor = Floor(world)
    floor.size(gpu=1)
    ahead, rebuilt, behind = (floor.start(Wanted(("gpu",))) for _ in range(3))
    digest = world.client.hget(keys.meta(rebuilt), "plan").decode()
    rebuild(world.engine, world.source(rebuilt, digest, epoch=2, status="running", control="cancel"))
    floor.end(f"{ahead}|0")
    assert floor.at_work() == [f"{behind}|0"]
