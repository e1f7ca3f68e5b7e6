"""No more steps are at work than a limit has places, whose places nobody keeps, and which no run keeps from another."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.integration.engine.harness import Planned, World, step, value
from tests.integration.engine.traced import FUNCTIONS
from workers.admission import Admission
from workers.engine import control, expanding, keys, overdue
from workers.engine.advancing import top_up
from workers.engine.starting import rebuild

GPU = f"{keys.LIMITS}:p:@gpu"
LINE = f"{keys.LIMITS}:p:line:@gpu"


@pytest.fixture(autouse=True)
def gpus(world: World) -> None:
    world.client.hset(f"{keys.LIMITS}:p", "gpu", 2)


def _users(world: World) -> set[str]:
    return {name.decode() for name in world.client.smembers(GPU)}


def _line(world: World) -> list[str]:
    return [name.decode() for name in world.client.zrange(LINE, 0, -1)]


def _start(world: World, run: str, count: int, **options: object) -> None:
    plan = Planned()
    for number in range(count):
        plan.add("double", x=value(number), limits=("gpu",))
    world.start(run, world.plan(plan), options=options)


def _sent(world: World) -> list[str]:
    return [f"{run}|{node}" for run, steps in world.queue for node, _ in steps]


def _watched(world: World, most: int, what: str = GPU) -> Iterator[None]:
    """After every message: never more than so many steps use the limit."""
    while world.queue:
        assert world.client.scard(what) <= most
        world.work()
        yield


def test_no_more_steps_are_sent_than_a_limit_has_places(world: World) -> None:
    _start(world, "r1", 5)
    assert _sent(world) == ["r1|0", "r1|1"]
    assert _users(world) == {"r1|0", "r1|1"}
    for _ in _watched(world, 2):
        pass
    assert world.finished()["counts"]["succeeded"] == 5
    assert (_users(world), _line(world)) == (set(), [])


def test_a_limit_without_places_keeps_only_its_own_steps(world: World) -> None:
    plan = Planned()
    for number in range(3):
        plan.add("double", x=value(number), limits=("gpu",))
        plan.add("one")
    world.start("r1", world.plan(plan))
    assert sorted(_sent(world)) == ["r1|0", "r1|1", "r1|2", "r1|3", "r1|5"]


def test_runs_take_turns_at_a_limit(world: World) -> None:
    _start(world, "r1", 6)
    _start(world, "r2", 6)
    assert _line(world) == ["r1", "r2"]
    begun: list[str] = []
    while world.queue:
        begun.append(world.queue[0][0])
        assert len(_users(world)) <= 2
        world.work()
    assert world.finished("r1")["status"] == world.finished("r2")["status"] == "succeeded"
    assert begun[2:8].count("r2") >= 3
    assert _line(world) == []


def test_an_attempt_gives_its_place_back_however_it_ends(world: World) -> None:
    plan = Planned()
    for _ in range(3):
        plan.add("fail", x=value(1), retries=1, limits=("gpu",))
    world.start("r1", world.plan(plan))
    world.work()
    assert _users(world) == {"r1|1", "r1|2"}, "the first waits for its second attempt"
    control(world.engine, "r1", "cancel")
    assert world.finished()["status"] == "cancelled"
    assert (_users(world), _line(world)) == (set(), [])


def test_a_place_that_was_lost_to_a_crash_comes_back_with_the_lease(world: World) -> None:
    _start(world, "r1", 3)
    for _ in range(2):
        run, steps = world.queue.popleft()
        assert world.new_worker("gone:1").claim(run, steps, lambda ended: None)
    assert _sent(world) == []
    for name in world.client.zrange(keys.INFLIGHT, 0, -1):
        world.client.zadd(keys.INFLIGHT, {name: 1})
    overdue.sweep(world.engine, lambda: 0, lambda run: None, lambda run, nodes: {})
    for _ in _watched(world, 2):
        pass
    assert world.finished()["status"] == "succeeded"
    assert _users(world) == set()


def test_a_paused_run_keeps_no_place_in_the_line(world: World) -> None:
    _start(world, "r1", 4)
    _start(world, "r2", 1)
    control(world.engine, "r1", "pause")
    assert _line(world) == ["r2"]
    world.drain()
    assert world.finished("r2")["status"] == "succeeded"
    assert _users(world) == set()
    control(world.engine, "r1", "run")
    world.drain()
    assert world.finished("r1")["status"] == "succeeded"


def test_a_larger_limit_is_used_at_the_next_look(world: World) -> None:
    _start(world, "r1", 5)
    world.client.hset(f"{keys.LIMITS}:p", "gpu", 4)
    top_up(world.engine, "r1")
    assert len(_users(world)) == 4


def test_a_rebuilt_run_counts_what_may_still_be_at_work(world: World) -> None:
    plan = Planned()
    for number in range(4):
        plan.add("double", x=value(number), limits=("gpu",))
    digest = world.plan(plan)
    world.start("r1", digest)
    batch = world.worker.claim(*world.queue.popleft(), lambda ended: None)
    assert batch is not None
    world.client.flushall()
    world.client.hset(f"{keys.LIMITS}:p", "gpu", 2)
    rebuild(world.engine, world.source("r1", digest, status="running"))
    assert "r1|0" in _users(world)


def test_a_run_that_is_begun_again_keeps_no_place_of_its_older_epoch(world: World) -> None:
    world.client.hset(f"{keys.LIMITS}:p", "gpu", 1)
    _start(world, "r1", 2)
    plan = world.client.hget(keys.meta("r1"), "plan")
    assert plan is not None
    world.worker.run(*world.queue.popleft(), lambda ended: None)
    assert _users(world) == {"r1|0"}
    rebuild(world.engine, world.source("r1", plan.decode(), status="running", epoch=2, raise_epoch=lambda adopted: 3))
    assert _users(world) == {"r1|1"}, "what may be at work; the other has ended"


def _dynamic(world: World, given: Any, **more: Any) -> tuple[Planned, int]:
    world.functions.update(FUNCTIONS)
    plan = Planned()
    return plan, plan.add("limited", dynamic=True, xs=value(given), **more)


@pytest.mark.parametrize("options", [{}, {"max_parallel": 3}])
def test_what_a_dynamic_step_opens_has_limits_as_all_others(world: World, options: dict[str, Any]) -> None:
    plan, made = _dynamic(world, [1, 2, 3, 4, 5])
    for number in range(3):
        plan.add("double", x=value(number), limits=("gpu",))
    world.start("r1", world.plan(plan, result=step(made)), options=options)
    most = {"gpu": 0, "map": 0, "run": 0}
    while world.queue:
        world.work()
        counts = world.client.hgetall(keys.counts("r1"))
        now = {"gpu": len(_users(world)), "map": int(counts.get(b"^0/5", 0)), "run": int(counts.get(b"^run", 0))}
        most = {name: max(most[name], now[name]) for name in most}
    assert world.output() == 4 * 15
    assert (most["gpu"], most["map"], most["run"]) == (2, 2, options.get("max_parallel", 0))
    assert (_users(world), _line(world)) == (set(), [])
    assert {int(count) for name, count in world.client.hgetall(keys.counts("r1")).items() if name[:1] == b"^"} == {0}


def test_each_item_of_a_mapped_dynamic_step_has_the_concurrency_of_its_own_map(world: World) -> None:
    plan, made = _dynamic(world, [[1, 2, 3], [4], [5, 6, 7]], map_over=["xs"])
    world.start("r1", world.plan(plan, result=step(made)))
    world.drain()
    assert world.output() == [24, 16, 72]
    maps = {name for name in world.client.hgetall(keys.limits("r1")) if name.startswith(b"=0.")}
    assert maps == {b"=0.0/3:2", b"=0.1/1:2", b"=0.2/3:2"}


def test_a_rebuilt_run_has_the_limits_of_what_it_opens_again(world: World) -> None:
    plan, made = _dynamic(world, [1, 2, 3, 4, 5])
    digest = world.plan(plan, result=step(made))
    world.start("r1", digest)
    world.work()
    world.client.flushall()
    world.queue.clear()
    world.client.hset(f"{keys.LIMITS}:p", "gpu", 2)
    world.engine = world.new_engine()
    world.worker = world.new_worker("here:2")
    rebuild(world.engine, world.source("r1", digest, status="running"))
    for name in world.client.zrange(keys.INFLIGHT, 0, -1):
        world.client.zadd(keys.INFLIGHT, {name: 1})
    overdue.sweep(world.engine, lambda: 0, lambda run: None, lambda run, nodes: {})
    for _ in _watched(world, 2):
        pass
    assert world.output() == 60
    assert world.executor.ran.count("0") == 1


def test_more_maps_with_a_concurrency_than_there_is_room_for_fail_the_step_and_say_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expanding, "MOST_LANES", 1)
    plan, _ = _dynamic(world, [[1], [2], [3]], map_over=["xs"])
    world.start("r1", world.plan(plan))
    world.drain()
    assert "1 such maps in all" in world.finished()["error"]["message"]


def test_a_run_has_no_more_steps_at_work_than_it_may(world: World) -> None:
    plan = Planned()
    for number in range(7):
        plan.add("double", x=value(number))
    world.start("r1", world.plan(plan), options={"max_parallel": 3})
    assert len(_sent(world)) == 3
    most = 0
    while world.queue:
        most = max(most, int(world.client.hget(keys.counts("r1"), "^run")))
        world.work()
    assert (most, world.finished()["counts"]["succeeded"]) == (3, 7)


def test_a_map_has_no_more_items_at_work_than_its_concurrency(world: World) -> None:
    plan = Planned()
    plan.add("double", map_over=["x"], x=value(list(range(9))), concurrency=2)
    plan.add("one")
    world.start("r1", world.plan(plan))
    assert sorted(_sent(world)) == ["r1|0.0", "r1|0.1", "r1|1"]
    world.drain()
    assert world.finished()["counts"]["succeeded"] == 10


def test_a_share_makes_the_window_smaller_and_takes_back_what_is_queued_beyond(world: World) -> None:
    plan = Planned()
    for number in range(60):
        plan.add("double", x=value(number))
    world.start("r1", world.plan(plan))
    assert len(_sent(world)) == 32
    world.engine.call("share", "r1", share=1 / 64)
    ran = 0
    for _ in range(32):
        ran += bool(world.work())
    assert ran <= 5, "what was sent before is given back"
    assert len(_sent(world)) <= 4
    world.engine.call("share", "r1", share=0.0)
    assert sum(bool(world.work()) for _ in range(len(world.queue))) <= 1
    assert _sent(world) == []
    world.engine.call("share", "r1")
    top_up(world.engine, "r1")
    world.drain()
    assert world.finished()["counts"]["succeeded"] == 60


def test_a_run_without_limits_asks_for_none(world: World) -> None:
    plan = Planned()
    for number in range(40):
        plan.add("double", x=value(number))
    world.client.config_resetstat()
    world.run(plan)
    asked = {name.removeprefix("cmdstat_") for name in world.client.info("commandstats")}
    assert not asked & {"scard", "sadd", "srem", "zrank", "zcount", "zrangebyscore"}
    assert not world.client.exists(f"celesta:{keys.SHARD}:r1:lim")


def test_a_limit_that_was_removed_while_nobody_led_is_forgotten(world: World) -> None:
    project = f"{keys.LIMITS}:default"
    world.client.hset(project, "gpu", 2)
    world.client.sadd(f"{project}:@gpu", "gone|1")
    admission = Admission(SimpleNamespace(engine=world.engine))  # type: ignore[arg-type]
    admission._tell_limits({"default": {}})
    assert not world.client.exists(project)
    admission._clear(project, ["gpu"])
    assert not world.client.exists(f"{project}:@gpu")
