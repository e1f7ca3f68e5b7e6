"""Who comes late, twice or from the past changes nothing."""

import pytest

from celesta.runtime.failures import plain_error
from tests.integration.engine.harness import Planned, World, step, value
from workers.engine import Ended, complete, control, keys
from workers.engine.kept import Kept
from workers.engine.settling import failure

LOST = failure(plain_error("Lost", "gone", "system"))


def _outcome(number: int) -> dict[str, object]:
    return {"status": "succeeded", "outputs": {"result": value(number)["value"]}, "error": None, "metrics": []}


def _started(world: World, retries: int = 0) -> None:
    plan = Planned()
    first = plan.add("one", retries=retries)
    plan.add("double", x=step(first))
    world.start("r1", world.plan(plan, result=step(1)))


def test_the_same_message_twice_runs_once(world: World) -> None:
    _started(world)
    world.queue.append(world.queue[0])
    world.drain()
    assert world.executor.ran == ["0", "1"]


def test_a_second_result_of_an_attempt_is_ignored(world: World) -> None:
    _started(world)
    world.work()
    assert complete(world.engine, "r1", [Ended("0", "1.1", _outcome(5))]) == ["done"]
    world.drain()
    assert world.output() == 2


def test_an_attempt_that_was_superseded_is_refused(world: World) -> None:
    _started(world, retries=1)
    run, steps = world.queue.popleft()
    batch = world.worker.claim(run, steps, lambda ended: None)
    assert batch is not None
    assert complete(world.engine, "r1", [Ended("0", "1.1", LOST)]) == ["retry"]
    assert complete(world.engine, "r1", [Ended("0", "1.1", _outcome(5))]) == ["stale"]
    world.drain()
    assert world.output() == 2
    assert [e["token"] for e in world.events("r1", "step.settled")] == ["1.2", "1.1"]


def _superseded(world: World, cache: bool = False) -> None:
    """A run that is to go on again: its first step came to 1 in its second attempt, its second step is ready."""
    plan = Planned()
    first = plan.add("one")
    plan.add("double", x=step(first), cache=cache)
    world.start("r1", world.plan(plan, result=step(1)))
    assert world.worker.claim(*world.queue.popleft(), lambda ended: None) is not None
    assert complete(world.engine, "r1", [Ended("0", "1.1", LOST)]) == ["retry"]
    ended = world.new_worker("there:2").run(*world.queue.popleft(), lambda ended: None)
    control(world.engine, "r1", "pause")
    assert complete(world.engine, "r1", ended) == ["ok"]
    world.engine.call("control", "r1", control="run", lease=world.engine.lease_ms)


def test_who_was_superseded_goes_on_with_nothing(world: World) -> None:
    _superseded(world)
    kept = Kept(world.worker.worker)
    assert complete(world.engine, "r1", [Ended("0", "1.1", _outcome(5))], kept) == ["stale"]
    assert kept.node is None
    world.drain()
    assert world.output() == 2


def test_a_refused_result_settles_nothing_that_would_follow_it(world: World) -> None:
    plan = Planned()
    plan.add("double", cache=True, x=value(5))
    world.run(plan, "r0")
    _superseded(world, cache=True)
    complete(world.engine, "r1", [Ended("0", "1.1", _outcome(5))])
    world.drain()
    assert world.output() == 2


@pytest.mark.parametrize("cache", [False, True])
def test_a_join_takes_the_accepted_results_also_when_a_refused_one_comes_with_the_last(
    world: World, cache: bool
) -> None:
    plan = Planned()
    first, second = plan.add("one"), plan.add("one")
    plan.add("add", a=step(first), b=step(second), cache=cache)
    plan.add("add", a=value(5), b=value(1), cache=True)
    world.start("r1", world.plan(plan, result=step(2)))
    for _ in range(2):
        assert world.worker.claim(*world.queue.popleft(), lambda ended: None) is not None
    world.drain()
    complete(world.engine, "r1", [Ended("0", "1.1", LOST)])
    world.drain()
    kept = Kept(world.worker.worker)
    both = [Ended("0", "1.1", _outcome(5)), Ended("1", "1.1", _outcome(1))]
    assert complete(world.engine, "r1", both, kept) == ["stale", "ok"]
    complete(world.engine, "r1", world.worker.go_on("r1", kept, lambda ended: None))
    world.drain()
    assert world.output() == 2


def test_no_step_can_be_completed_that_nobody_claimed_under_its_token(world: World) -> None:
    _started(world)
    assert complete(world.engine, "r1", [Ended("1", "1.1", _outcome(5))]) == ["stale"]
    assert complete(world.engine, "r1", [Ended("0", "2.1", _outcome(5))]) == ["stale"]


def test_a_run_nobody_knows_is_left_alone(world: World) -> None:
    assert complete(world.engine, "nobody", [Ended("0", "1.1", _outcome(5))]) == ["stale"]
    assert world.client.dbsize() == 0


def test_lost_attempts_have_a_budget_of_their_own(world: World) -> None:
    _started(world)
    for attempt in range(1, 4):
        run, steps = world.queue.popleft()
        assert world.worker.claim(run, steps, lambda ended: None) is not None
        assert complete(world.engine, "r1", [Ended("0", f"1.{attempt}", LOST)]) == ["retry"]
    run, steps = world.queue.popleft()
    assert world.worker.claim(run, steps, lambda ended: None) is not None
    assert complete(world.engine, "r1", [Ended("0", "1.4", LOST)]) == ["ok"]
    assert world.finished()["error"]["type"] == "Lost"
    assert {event["reason"] for event in world.events("r1", "step.retry")} == {"lost"}


# Cancel and pause


def test_after_a_cancel_nothing_is_claimed_and_the_run_ends(world: World) -> None:
    _started(world)
    assert control(world.engine, "r1", "cancel")
    finished = world.finished()
    assert finished["status"] == "cancelled"
    assert finished["counts"]["cancelled"] == 2
    world.drain()
    assert world.executor.ran == []
    assert world.client.zcard(keys.INFLIGHT) == 0


def test_a_cancelled_run_ends_when_its_last_running_step_has(world: World) -> None:
    _started(world)
    run, steps = world.queue.popleft()
    batch = world.worker.claim(run, steps, lambda ended: None)
    assert batch is not None
    control(world.engine, "r1", "cancel")
    assert world.finished() is None
    complete(world.engine, "r1", [Ended("0", "1.1", {}, cancelled=True)])
    assert world.finished()["status"] == "cancelled"
    assert world.states() == {"0": "cancelled", "1": "cancelled"}


def test_what_succeeded_while_its_run_was_cancelled_has_succeeded(world: World) -> None:
    _started(world)
    run, steps = world.queue.popleft()
    assert world.worker.claim(run, steps, lambda ended: None) is not None
    control(world.engine, "r1", "cancel")
    complete(world.engine, "r1", [Ended("0", "1.1", _outcome(1))])
    assert world.states() == {"0": "succeeded", "1": "cancelled"}


@pytest.mark.parametrize("width", [3, 400])
def test_cancelling_an_open_map_cancels_its_items_and_ends_it(world: World, width: int) -> None:
    plan = Planned()
    numbers = plan.add("count", n=value(width))
    plan.add("double", map_over=["x"], x=step(numbers))
    world.start("r1", world.plan(plan))
    world.work()
    world.work()
    control(world.engine, "r1", "cancel")
    finished = world.finished()
    assert finished["status"] == "cancelled"
    assert finished["counts"]["total"] == width + 1
    assert len(world.states()) == width + 2


def test_while_paused_nothing_starts_and_afterwards_all_goes_on(world: World) -> None:
    _started(world)
    control(world.engine, "r1", "pause")
    world.drain()
    assert world.executor.ran == []
    control(world.engine, "r1", "run")
    world.drain()
    assert world.output() == 2
