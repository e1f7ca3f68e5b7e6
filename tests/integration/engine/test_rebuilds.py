"""A rebuild that dies on its way, or meets late news of an earlier epoch: what has a result is never done again."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from celesta.errors import StoreError
from tests.fixtures.processes import wait_until
from tests.integration.engine.harness import Planned, World, step, value
from tests.integration.engine.traced import doubled
from workers.engine import Ended, complete, keys, overdue, rebuild, start
from workers.engine.manifests import read
from workers.engine.scripts import know
from workers.engine.settling import Adopted
from workers.engine.source import Source
from workers.engine.waiting import Waits

ITEMS = 5


def _fail(*_: object) -> Any:
    raise StoreError("does not answer")


class Death(BaseException):
    """What a killed process feels."""


@pytest.fixture(autouse=True)
def one_item_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a process can die between any two items."""
    for module in ("cascade", "mapping", "expanding", "starting"):
        monkeypatch.setattr(f"workers.engine.{module}.CHUNK", 1)


def _mapped(world: World) -> str:
    plan = Planned()
    made = plan.add("count", n=value(ITEMS))
    items = plan.add("double", map_over=["x"], x=step(made))
    total = plan.add("total", items=step(items))
    last = plan.add("double", x=step(total))
    return world.plan(plan, result=step(last))


def _planned(world: World) -> str:
    world.functions["doubled"] = doubled
    plan = Planned()
    made = plan.add("doubled", dynamic=True, xs=value(list(range(ITEMS))))
    last = plan.add("double", x=step(made))
    return world.plan(plan, result=step(last))


def _lose(world: World) -> None:
    world.client.flushall()
    world.queue.clear()
    world.engine = world.new_engine()
    world.worker = world.new_worker("here:1")


def _dying(world: World, after: int) -> Callable[..., Any]:
    """The engine's calls, of which the process survives so many."""
    left, real = [after], world.engine.call

    def call(name: str, run: str, **arguments: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise Death
        return real(name, run, **arguments)

    return call


def _rebuild_and_die(world: World, digest: str, after: int) -> None:
    with pytest.MonkeyPatch.context() as patch, suppress(Death):
        patch.setattr(world.engine, "call", _dying(world, after))
        rebuild(world.engine, world.source("r1", digest, status="running"))
    world.engine = world.new_engine()
    world.worker = world.new_worker("here:2")


def _all_deadlines_pass(world: World, digest: str) -> None:
    for name in world.client.zrange(keys.INFLIGHT, 0, -1):
        world.client.zadd(keys.INFLIGHT, {name: 1})
    source = world.source("r1", digest, status="running")
    overdue.sweep(world.engine, lambda: 0, lambda run: start(world.engine, source), lambda run, nodes: {})


@pytest.mark.parametrize("make", [_mapped, _planned])
@pytest.mark.parametrize("calls", range(1, 14))
def test_whoever_goes_on_with_a_rebuild_knows_the_results_too(
    world: World, make: Callable[[World], str], calls: int
) -> None:
    digest = make(world)
    world.start("r1", digest)
    world.drain()
    ran, output = list(world.executor.ran), world.output()
    _lose(world)
    _rebuild_and_die(world, digest, calls)
    for _ in range(20):
        world.drain()
        if world.finished() is None:
            _all_deadlines_pass(world, digest)
    assert world.output() == output
    assert world.executor.ran == ran, "nothing ran again"


def test_a_map_that_a_rebuild_could_not_open_is_opened_later_with_the_results(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.functions |= {"texts": lambda n: ["x" * 1_000] * n, "length": lambda x: len(x)}
    plan = Planned()
    made = plan.add("texts", n=value(20))
    items = plan.add("length", map_over=["x"], x=step(made))
    last = plan.add("total", items=step(items))
    digest = world.plan(plan, result=step(last))
    world.start("r1", digest)
    while world.finished() is None:
        world.work()
    output, ran = world.output(), list(world.executor.ran)
    _lose(world)
    world.engine.views.plan(digest)
    with monkeypatch.context() as away:
        away.setattr(type(world.store), "get_blob", _fail)
        rebuild(world.engine, world.source("r1", digest, status="running"))
        _all_deadlines_pass(world, digest)
    assert world.client.hget(keys.states("r1"), str(items)).startswith(b"asking|")
    for _ in range(3):
        _all_deadlines_pass(world, digest)
        world.drain()
    assert (world.output(), world.executor.ran) == (output, ran), "nothing ran again"
    assert world.client.zcard(keys.INFLIGHT) == 0


def test_a_plan_is_opened_by_the_attempt_that_was_accepted_alone(world: World) -> None:
    world.functions["traced"] = lambda xs: doubled(xs)
    plan = Planned()
    made = plan.add("traced", dynamic=True, xs=value([1]))
    digest = world.plan(plan, result=step(made))
    world.start("r1", digest)
    assert world.new_worker("there:2").claim(*world.queue.popleft(), lambda ended: None) is not None
    _all_deadlines_pass(world, digest)
    world.work()
    other = world.store.put_blob(json.dumps(doubled([1, 2, 3, 4]).spec).encode())
    outcome = {"status": "succeeded", "outputs": {}, "error": None, "metrics": [], "dynamic": other}
    assert complete(world.engine, "r1", [Ended("0", "1.1", outcome)]) == ["stale"]
    world.drain()
    assert world.output() == 2
    assert world.executor.ran == ["0", "0/0", "0/1"]


def test_an_attempt_whose_plan_a_rebuild_has_opened_asks_none_of_its_steps(world: World) -> None:
    digest = _planned(world)
    world.start("r1", digest)
    world.drain()
    ran = list(world.executor.ran)
    _lose(world)
    _rebuild_and_die(world, digest, 2)
    view = world.new_engine().views.of("r1")
    assert view is not None
    outcome = read(world.store, view, "0", "1.1")
    assert outcome is not None
    assert complete(world.engine, "r1", [Ended("0", "1.1", outcome)]) == ["done"]
    assert not world.queue
    assert world.executor.ran == ran


class Database:
    """What two rebuilds meet in: the epoch of the run."""

    def __init__(self, world: World, digest: str) -> None:
        self.world, self.digest, self.epoch = world, digest, 1

    def source(self) -> Source:
        read = self.epoch

        def raise_epoch(adopted: Any) -> int | None:
            if self.epoch != read:
                return None
            self.epoch += 1
            return self.epoch

        return self.world.source("r1", self.digest, status="running", epoch=read, raise_epoch=raise_epoch)


@pytest.mark.parametrize("leased", [True, False])
@pytest.mark.parametrize(("moment", "nothing"), [("settled", {}), ("waits", Waits())])
def test_of_two_rebuilds_at_once_one_counts(world: World, moment: str, nothing: Any, leased: bool) -> None:
    """The second begins while the first reads results, or has raised the epoch and not told Redis; where the first is
    so slow that nobody believes in it any more, it is superseded."""
    digest = _mapped(world)
    world.start("r1", digest)
    world.drain()
    ran, output = list(world.executor.ran), world.output()
    _lose(world)
    database = Database(world, digest)

    def second() -> Any:
        if not leased:
            world.client.delete(keys.rebuilding("r1"))
        start(world.new_engine(), database.source())
        return nothing

    start(world.engine, replace(database.source(), **{moment: second}))
    assert world.finished()["epoch"] == database.epoch
    assert (world.output(), world.executor.ran) == (output, ran)
    assert not world.client.exists(keys.rebuilding("r1"))


def test_a_rebuild_keeps_its_lead_however_long_it_reads(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.engine.starting.LEAD_SECONDS", 3.0)
    digest = _mapped(world)
    world.start("r1", digest)
    world.drain()
    output = world.output()
    _lose(world)
    database, lead = Database(world, digest), keys.rebuilding("r1")

    def settled() -> Any:
        world.client.pexpire(lead, 2_000)
        wait_until(lambda: not 0 <= world.client.pttl(lead) <= 2_000)
        return {}

    start(world.engine, replace(database.source(), settled=settled))
    assert (world.output(), world.finished()["epoch"]) == (output, 2)


def test_a_rebuild_that_lost_its_lead_changes_nothing(world: World) -> None:
    digest = _mapped(world)
    database = Database(world, digest)

    def settled() -> Any:
        world.client.set(keys.rebuilding("r1"), "another")
        return {}

    rebuild(world.engine, replace(database.source(), settled=settled))
    assert (database.epoch, world.client.exists(keys.meta("r1"))) == (1, 0)


def test_a_rebuild_that_hangs_does_not_keep_its_lead_for_ever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.engine.starting.LEAD_SECONDS", 0.3)
    monkeypatch.setattr("workers.engine.starting.REBUILD_SECONDS", 0.2)
    digest = _mapped(world)
    database = Database(world, digest)

    def settled() -> Any:
        wait_until(lambda: not world.client.exists(keys.rebuilding("r1")))
        return {}

    rebuild(world.engine, replace(database.source(), settled=settled))
    assert (database.epoch, world.client.exists(keys.meta("r1"))) == (1, 0)


def test_a_run_under_an_older_epoch_than_its_record_is_begun_again(world: World) -> None:
    digest = _mapped(world)
    world.start("r1", digest)
    world.work()
    database = Database(world, digest)
    database.epoch = 2
    start(world.engine, database.source())
    for _ in range(3):
        _all_deadlines_pass(world, digest)
        world.drain()
    assert world.finished()["epoch"] == database.epoch == 3
    assert world.executor.ran.count("0") == 1
    assert world.client.zcard(keys.INFLIGHT) == 0


def test_a_step_whose_claim_a_redis_has_lost_is_claimed_by_nobody_until_the_run_is_rebuilt(world: World) -> None:
    digest = _mapped(world)
    world.start("r1", digest)
    message = world.queue[0]
    before = {key: world.client.dump(key) for key in world.client.scan_iter()}
    assert world.worker.claim(*message, lambda ended: None)
    world.client.flushall()
    for key, dumped in before.items():
        world.client.restore(key, 0, dumped)
    world.client.hset(keys.MARKS, "server", "the one before")
    world.client.script_flush()
    database = Database(world, digest)
    another = world.new_worker("there:2")
    assert another.claim(*message, lambda ended: None) is None
    start(world.engine, database.source())
    assert world.client.hget(keys.states("r1"), "0").startswith(b"recovering|2.0")
    world.queue.clear()
    for _ in range(4):
        _all_deadlines_pass(world, digest)
        world.drain()
    assert (world.finished()["epoch"], world.executor.ran.count("0")) == (2, 1)
    assert world.client.zcard(keys.INFLIGHT) == 0


def test_a_redis_that_was_stopped_with_nothing_at_work_goes_on(world: World) -> None:
    digest = _mapped(world)
    world.start("r1", digest)
    world.client.hset(keys.MARKS, "server", "stopped")
    world.client.script_flush()
    world.drain()
    assert (world.finished()["epoch"], world.client.hget(keys.MARKS, "life")) == (1, None)


def test_a_run_that_has_ended_is_not_begun_again(world: World) -> None:
    digest = _mapped(world)
    world.start("r1", digest)
    world.drain()
    _lose(world)
    before = world.dump()
    rebuild(world.engine, world.source("r1", digest, status="running", raise_epoch=lambda adopted: None))
    assert world.dump() == before


@pytest.mark.parametrize("end", ["cancelled", "timed out", "stopped by a failure"])
def test_what_has_ended_counts_in_a_run_that_is_rebuilt_and_ended(world: World, end: str) -> None:
    plan = Planned(options={"policy": "fail_fast", "timeout_seconds": 3600 if end == "timed out" else None})
    failed = str(plan.add("odd", x=value(2)))
    made = plan.add("count", n=value(ITEMS))
    items = plan.add("double", map_over=["x"], x=step(made))
    plan.wait("approve", after=(items,), message="sure?")
    digest = world.plan(plan)
    odd = world.functions["odd"]
    world.functions["odd"] = lambda x: x
    world.start("r1", digest)
    world.drain()
    world.functions["odd"] = odd
    ran = list(world.executor.ran)
    _lose(world)
    more: dict[str, Any] = {"control": "cancel" if end == "cancelled" else "run"}
    if end == "stopped by a failure":
        error = {"type": "ValueError", "message": "no luck", "traceback": "", "kind": "user"}
        outcome = {"status": "failed", "outputs": {}, "error": error}
        more["settled"] = lambda: {failed: Adopted("failed", "1.1", outcome)}
    if end == "timed out":  # while it is rebuilt
        _rebuild_and_die(world, digest, 3)
    else:
        rebuild(world.engine, world.source("r1", digest, status="running", **more))
    for _ in range(3):
        _all_deadlines_pass(world, digest)
    finished = world.finished()
    succeeded = len(ran) - (end == "stopped by a failure")
    assert finished["status"] == ("cancelled" if end == "cancelled" else "failed")
    assert (finished["counts"]["succeeded"], finished["counts"]["cancelled"]) == (succeeded, 1)
    assert world.executor.ran == ran


def test_while_a_run_is_rebuilt_nobody_else_makes_it_known(world: World) -> None:
    digest = _mapped(world)
    world.client.set(keys.rebuilding("r1"), "another")
    know(world.client)
    before = world.dump()
    world.start("r1", digest)
    rebuild(world.engine, world.source("r1", digest, status="running"))
    assert world.dump() == before


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("is_root", [True, False])
def test_a_step_whose_plan_was_refused_stays_failed(world: World, is_root: bool, recorded: bool) -> None:
    """Also where the plan would be taken by now, as far as that is recorded."""
    world.functions["doubled"] = doubled
    plan = Planned()
    before = () if is_root else (plan.add("one"),)
    made = str(plan.add("doubled", dynamic=True, xs=value([1, 2]), after=before))
    slow = plan.add("one")
    digest = world.plan(plan, result=step(slow))
    world.start("r1", digest)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.engine.expanding.MOST_STEPS", 4)
        while made not in world.states():
            world.work()
        ran = list(world.executor.ran)
        (event,) = (one for one in world.events("r1", "step.settled") if one["node"] == made)
        _lose(world)
        failed = {made: Adopted("failed", "1.1", event["outcome"], opens=False)} if recorded else {}
        if recorded:
            patch.undo()
        rebuild(world.engine, world.source("r1", digest, status="running", settled=lambda: failed))
        assert world.states()[made] == "failed"
        for _ in range(3):
            world.drain()
            _all_deadlines_pass(world, digest)
    assert "a run may have 4 in all" in world.finished()["error"]["message"]
    assert sorted(world.executor.ran) == sorted({*ran, str(slow)})
