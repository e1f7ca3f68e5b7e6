"""What a failure leads to: another attempt from the budget of its kind, the end of a branch, or the end of the run."""

from typing import Any

import pytest

from tests.integration.engine.harness import Planned, World, step, value
from workers.engine import control, keys, overdue
from workers.engine.leases import Leases
from workers.engine.starting import rebuild

KINDS = ("user", "timeout", "out_of_memory", "system")


class Trouble(ConnectionError):
    """A failure of any kind."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@pytest.fixture
def troubled(world: World) -> list[str]:
    """The kinds of failure that the task `trouble` still has before it; then it succeeds."""
    kinds: list[str] = []

    def trouble() -> str:
        if kinds:
            raise Trouble(kinds.pop(0))
        return "at last"

    world.functions["trouble"] = trouble
    return kinds


def sweep(world: World) -> None:
    """Lets all deadlines pass, and sweeps."""
    for name in world.client.zrange(keys.INFLIGHT, 0, -1):
        world.client.zadd(keys.INFLIGHT, {name: 1})
    overdue.sweep(world.engine, lambda: 0, lambda run: None, lambda run, nodes: {})


def to_the_end(world: World) -> Any:
    for _ in range(50):
        world.drain()
        if world.finished():
            return world.finished()
        sweep(world)
    raise AssertionError("the run does not end")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_failure_has_a_budget_of_its_own(world: World, troubled: list[str], kind: str) -> None:
    budgets = {"max": 1, "timeout": 2, "out_of_memory": 3, "system": 4}
    most = budgets["max" if kind == "user" else kind]
    plan = Planned()
    plan.add("trouble", retry=budgets)
    troubled += [*KINDS, *[kind] * most]
    world.start("r1", world.plan(plan))
    finished = to_the_end(world)
    assert finished["status"] == "failed"
    assert finished["error"]["kind"] == kind
    reasons = [event["reason"] for event in world.events("r1", "step.retry")]
    assert reasons.count(kind) == most
    assert len(reasons) == 3 + most, "what others spent is not counted here"


def test_what_is_not_given_is_as_max_and_three_for_the_system(world: World, troubled: list[str]) -> None:
    plan = Planned()
    plan.add("trouble", retry={"max": 1})
    troubled += ["timeout", "out_of_memory", "system", "system", "system"]
    world.start("r1", world.plan(plan, result=step(0)))
    assert to_the_end(world)["status"] == "succeeded"


@pytest.mark.parametrize(("on", "tries"), [(["OSError"], 2), (["Trouble"], 2), (["ValueError"], 1), (["Exception"], 2)])
def test_a_retry_that_names_exceptions_is_for_these_and_their_subclasses(
    world: World, troubled: list[str], on: list[str], tries: int
) -> None:
    plan = Planned()
    plan.add("trouble", retry={"max": 1, "on": on})
    troubled.append("user")
    world.start("r1", world.plan(plan, result=step(0)))
    assert to_the_end(world)["status"] == ("succeeded" if tries == 2 else "failed")
    assert len(world.executor.ran) == tries


def test_jitter_adds_a_part_of_the_wait_and_no_wait_is_longer_than_a_day(world: World, troubled: list[str]) -> None:
    plan = Planned()
    plan.add("trouble", retry={"max": 5, "backoff_seconds": 1000.0, "factor": 100.0, "jitter": 0.5})
    troubled += ["user"] * 4
    world.start("r1", world.plan(plan, result=step(0)))
    to_the_end(world)
    waits = [(e["at_or_after_ms"] - e["at_ms"]) / 1000 for e in world.events("r1", "step.retry")]
    assert 1000 <= waits[0] <= 1500
    assert waits[1:] == [86_400] * 3


def test_an_attempt_after_one_that_ran_out_of_memory_may_use_more(world: World, troubled: list[str]) -> None:
    plan = Planned()
    plan.add("trouble", retry={"max": 3, "memory_factor": 2.0}, resources={"cpu": 1, "memory_bytes": 100, "gpu": 0})
    troubled += ["out_of_memory", "user", "out_of_memory"]
    asked: list[dict[str, int]] = []
    world.executor.before = lambda document: asked.append(document["resources"])
    world.start("r1", world.plan(plan, result=step(0)))
    to_the_end(world)
    assert [one["memory_bytes"] for one in asked] == [100, 200, 200, 400]
    assert [one.get("memory_asked_bytes") for one in asked] == [None, 100, 100, 100]


# The run


def _branches(policy: str) -> Planned:
    plan = Planned(options={"policy": policy})
    bad = plan.add("fail", x=value(1))
    plan.add("double", x=step(bad))
    good = plan.add("one")
    plan.add("double", x=step(good))
    plan.add("odd", map_over=["x"], x=value([1, 3, 5]))
    return plan


def test_by_default_what_does_not_need_the_failed_step_goes_on(world: World) -> None:
    finished = world.run(_branches("continue"))
    assert finished["status"] == "failed"
    assert finished["error"]["path"] == "fail#0"
    assert {"1": "upstream_failed", "3": "succeeded", "4": "succeeded"}.items() <= world.states().items()


def test_fail_fast_cancels_whatever_has_not_ended(world: World) -> None:
    world.start("r1", world.plan(_branches("fail_fast")))
    world.work()
    finished = world.finished()
    assert finished["status"] == "failed"
    assert (finished["error"]["path"], finished["error"]["type"]) == ("fail#0", "ValueError")
    states = world.states()
    assert states["0"] == "failed"
    assert {states[str(index)] for index in range(1, 5)} == {"cancelled"}
    world.drain()
    assert world.executor.ran == ["0"], "nothing that was sent before is run"
    assert world.client.zcard(keys.INFLIGHT) == 0


def test_fail_fast_waits_for_the_last_attempt(world: World, troubled: list[str]) -> None:
    plan = Planned(options={"policy": "fail_fast"})
    plan.add("trouble", retries=1)
    plan.add("one")
    troubled.append("user")
    world.start("r1", world.plan(plan, result=step(0)))
    assert to_the_end(world)["status"] == "succeeded"


def test_a_gather_that_fails_ends_a_fail_fast_run(world: World) -> None:
    plan = Planned(options={"policy": "fail_fast"})
    plan.add("odd", map_over=["x"], x=value([1, 2]))
    plan.add("double", after=(0,), x=value(1))
    for _ in range(40):
        plan.add("one")
    finished = world.run(plan)
    assert finished["status"] == "failed"
    assert finished["error"]["path"] == "odd#0[1]"
    assert finished["counts"]["cancelled"] > 0


def test_a_crash_after_a_failure_that_ends_the_run_leaves_nothing_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.start("r1", world.plan(_branches("fail_fast")))
    with monkeypatch.context() as patch:
        patch.setattr("workers.engine.completing.Cascade.run", lambda self: False)
        world.work()
    assert world.finished() is None
    sweep(world)
    assert world.finished()["status"] == "failed"
    assert world.client.zcard(keys.INFLIGHT) == 0


def test_a_run_that_takes_too_long_has_failed_and_its_steps_are_ended(world: World) -> None:
    plan = Planned(options={"timeout_seconds": 5.0})
    first = plan.add("one")
    plan.add("double", x=step(first))
    world.start("r1", world.plan(plan))
    score = world.client.zscore(keys.INFLIGHT, f"r1|{keys.TIMEOUT}")
    assert score is not None
    assert score - world.engine.now_ms() <= 5_000
    run, steps = world.queue.popleft()
    batch = world.worker.claim(run, steps, lambda ended: None)
    assert batch is not None
    world.worker.batch = batch
    batch.next()
    world.client.zadd(keys.INFLIGHT, {f"r1|{keys.TIMEOUT}": 1})
    overdue.sweep(world.engine, lambda: 0, lambda run: None, lambda run, nodes: {})
    Leases(world.worker).tick()
    assert batch.stopped == {"0": "cancelled"}
    sweep(world)
    finished = to_the_end(world)
    assert finished["status"] == "failed"
    assert finished["error"] == {
        "path": "", "type": "Timeout", "kind": "timeout",
        "message": "the run took longer than its timeout of 5 s, and was ended",
    }  # fmt: skip
    assert world.client.zcard(keys.INFLIGHT) == 0


def test_a_run_that_ends_in_time_leaves_no_timer(world: World) -> None:
    plan = Planned(options={"timeout_seconds": 5.0})
    plan.add("one")
    assert world.run(plan)["status"] == "succeeded"
    assert world.client.zcard(keys.INFLIGHT) == 0


def test_a_rebuild_gives_a_run_no_more_time(world: World) -> None:
    plan = Planned(options={"timeout_seconds": 5.0})
    plan.add("one")
    digest = world.plan(plan)
    started_ms = world.engine.now_ms() - 60_000
    rebuild(world.engine, world.source("r1", digest, status="running", started_ms=started_ms))
    overdue.sweep(world.engine, lambda: 0, lambda run: None, lambda run, nodes: {})
    assert to_the_end(world)["error"]["type"] == "Timeout"


# What was decided about it


@pytest.mark.parametrize("decided", ["pause", "cancel"])
def test_a_decision_that_is_older_than_the_start_is_heeded(world: World, decided: Any) -> None:
    plan = Planned()
    plan.add("one")
    digest = world.plan(plan, result=step(0))
    world.start("r1", digest, control=decided)
    assert not world.queue
    if decided == "cancel":
        assert world.finished()["status"] == "cancelled"
        return
    world.start("r1", digest, control="run")
    world.drain()
    assert world.finished()["status"] == "succeeded"


def test_a_start_message_brings_what_was_decided_since(world: World) -> None:
    plan = Planned()
    first = plan.add("one")
    plan.add("double", x=step(first))
    digest = world.plan(plan, result=step(1))
    world.start("r1", digest)
    world.start("r1", digest, control="pause", status="running")
    world.drain()
    sweep(world)
    assert world.executor.ran == []
    world.start("r1", digest, control="run", status="running")
    world.drain()
    assert world.output() == 2


def test_a_backoff_that_ends_while_the_run_is_paused_waits_for_it(world: World, troubled: list[str]) -> None:
    plan = Planned()
    plan.add("trouble", retries=1)
    troubled.append("user")
    world.start("r1", world.plan(plan, result=step(0)))
    world.work()
    control(world.engine, "r1", "pause")
    sweep(world)
    assert not world.queue
    control(world.engine, "r1", "run")
    world.drain()
    assert world.finished()["status"] == "succeeded"


def test_a_paused_run_can_be_cancelled(world: World) -> None:
    plan = Planned()
    plan.add("one")
    world.start("r1", world.plan(plan), control="pause")
    control(world.engine, "r1", "cancel")
    assert world.finished()["status"] == "cancelled"
    control(world.engine, "r1", "run")
    assert world.states() == {"0": "cancelled"}
