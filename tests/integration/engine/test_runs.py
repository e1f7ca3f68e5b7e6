"""Runs from start to end, through the real scripts."""

from tests.integration.engine.harness import Planned, World, step, value


def test_a_chain_passes_values_along(world: World) -> None:
    plan = Planned()
    last = plan.add("one")
    for _ in range(5):
        last = plan.add("double", x=step(last))
    finished = world.run(plan, result=step(last))
    assert finished["status"] == "succeeded"
    assert world.output() == 32
    assert finished["counts"] == {"total": 6, "succeeded": 6, "cached": 0, "failed": 0, "skipped": 0, "cancelled": 0}


def test_a_join_runs_once_when_its_last_parent_settles(world: World) -> None:
    plan = Planned()
    parents = [plan.add("double", x=value(n)) for n in range(10)]
    join = plan.add("total", items={"list": [step(parent) for parent in parents]})
    world.run(plan, result=step(join))
    assert world.output() == 90
    assert world.executor.ran.count(str(join)) == 1
    assert world.executor.ran[-1] == str(join)


def test_a_step_may_wait_for_another_without_using_its_value(world: World) -> None:
    plan = Planned()
    first = plan.add("one")
    second = plan.add("one", after=(first,))
    assert world.run(plan, result=step(second))["status"] == "succeeded"
    assert world.executor.ran == ["0", "1"]


def test_a_failure_ends_its_branch_and_no_other(world: World) -> None:
    plan = Planned()
    bad = plan.add("fail", x=value(1))
    after_bad = plan.add("double", x=step(bad))
    last = plan.add("double", x=step(after_bad))
    good = plan.add("one")
    finished = world.run(plan, result=step(last))
    assert world.states() == {
        str(bad): "failed",
        str(after_bad): "upstream_failed",
        str(last): "upstream_failed",
        str(good): "succeeded",
    }
    assert finished["status"] == "failed"
    assert finished["outputs"] == {}
    assert finished["error"] == {"path": "fail#0", "type": "ValueError", "message": "no luck with [1]", "kind": "user"}
    assert finished["counts"]["skipped"] == 2
    assert finished["counts"]["total"] == 4


def test_a_run_without_steps_is_over_at_once(world: World) -> None:
    assert world.run(Planned())["status"] == "succeeded"


def test_nothing_of_a_run_is_in_flight_at_its_end(world: World) -> None:
    plan = Planned()
    plan.add("one")
    world.run(plan)
    assert world.client.zcard("celesta:{p0}:inflight") == 0
    assert world.client.zcard("celesta:{p0}:r1:ready") == 0


def test_a_wide_fan_is_published_by_and_by(world: World) -> None:
    plan = Planned()
    parents = [plan.add("double", x=value(n)) for n in range(400)]
    join = plan.add("total", items={"list": [step(parent) for parent in parents]})
    world.start("r1", world.plan(plan, result=step(join)))
    assert sum(len(steps) for _, steps in world.queue) <= 32
    world.drain()
    assert world.output() == 400 * 399
    assert max(len(steps) for _, steps in world.published) > 1, "small steps share messages"


def test_a_failed_attempt_is_tried_again_after_its_backoff(world: World) -> None:
    plan = Planned()
    plan.add("fail", retries=1, x=value(7))
    world.start("r1", world.plan(plan))
    world.drain()
    (event,) = world.events("r1", "step.retry")
    assert (event["token"], event["reason"], event["next_attempt"]) == ("1.1", "user", 2)
    assert world.finished() is None
    assert world.states() == {}


def test_each_step_tells_what_it_was_given(world: World) -> None:
    plan = Planned()
    first = plan.add("one")
    plan.add("double", x=step(first))
    world.run(plan)
    event = world.events("r1", "step.settled")[1]
    assert event["input_digests"] == {"x": value(1)["value"]["digest"]}
    assert event["token"] == "1.1"
    assert event["attempt"] == 1
    assert {"epoch", "at_ms", "project"} <= set(event)


def test_half_a_surrogate_pair_in_a_message_fails_the_step_and_not_the_engine(world: World) -> None:
    plan = Planned()
    plan.add("garble")
    world.run(plan)
    finished = world.finished()
    assert finished is not None
    assert finished["error"]["message"] == "half a ? pair"
