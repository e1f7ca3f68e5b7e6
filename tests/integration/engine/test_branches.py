"""Branches: the engine decides in place; the side not taken is skipped, and what joins both sides runs."""

from typing import Any

import pytest

from tests.integration.engine.harness import Planned, World, step, value
from workers.engine import keys


def _chosen(number: int) -> tuple[Planned, dict[str, int]]:
    """double(number) > 4 ? add 100 : add 200, each through two steps; then doubled."""
    plan = Planned()
    at = {"double": plan.add("double", x=value(number))}
    at["when"] = plan.branch({"test": "gt", "of": ["left", "right"]}, left=step(at["double"]), right=value(4))
    for side, more in ((True, 100), (False, 200)):
        guard = (at["when"], side)
        at[f"first {side}"] = plan.add("add", guard=guard, a=step(at["double"]), b=value(more))
        at[f"last {side}"] = plan.add("double", guard=guard, x=step(at[f"first {side}"]))
    sides = {"then": step(at["last True"]), "otherwise": step(at["last False"])}
    at["result"] = plan.merge(at["when"], **sides)
    at["after"] = plan.add("double", x=step(at["result"]))
    return plan, at


@pytest.mark.parametrize(("number", "taken", "result"), [(3, True, 424), (1, False, 808)])
def test_the_side_not_taken_is_skipped_and_what_joins_both_runs(
    world: World, number: int, taken: bool, result: int
) -> None:
    plan, at = _chosen(number)
    finished = world.run(plan, result=step(at["after"]))
    states = {name: world.states()[str(index)] for name, index in at.items()}
    assert {name for name, state in states.items() if state == "skipped"} == {f"first {not taken}", f"last {not taken}"}
    assert world.output() == result
    assert finished["counts"] == {"total": 6, "succeeded": 4, "cached": 0, "failed": 0, "skipped": 2, "cancelled": 0}
    assert world.client.zcard(keys.INFLIGHT) == 0


def test_a_branch_needs_no_message(world: World) -> None:
    plan, at = _chosen(3)
    world.run(plan)
    sent = {node for _, steps in world.published for node, _ in steps}
    assert sent == {str(at[name]) for name in ("double", "first True", "last True", "after")}


def test_a_branch_says_what_it_looked_at(world: World) -> None:
    plan, at = _chosen(3)
    world.run(plan)
    event = next(e for e in world.events("r1", "step.settled") if e["node"] == str(at["when"]))
    assert event["outcome"]["outputs"]["result"]["inline"] is True
    assert set(event["input_digests"]) == {"left", "right"}


@pytest.mark.parametrize("outer", [True, False])
@pytest.mark.parametrize("inner", [True, False])
def test_a_branch_inside_a_side_is_skipped_with_it(world: World, outer: bool, inner: bool) -> None:
    plan = Planned()
    first = plan.branch("yes", yes=value(outer))
    second = plan.branch("yes", guard=(first, True), yes=value(inner))
    sides = [plan.add("double", guard=(second, side), x=value(number)) for side, number in ((True, 1), (False, 2))]
    inside = plan.merge(second, guard=(first, True), then=step(sides[0]), otherwise=step(sides[1]))
    other = plan.add("double", guard=(first, False), x=value(3))
    result = plan.merge(first, then=step(inside), otherwise=step(other))
    last = plan.add("double", x=step(result))
    world.run(plan, result=step(last))
    assert world.output() == 2 * ((2 if inner else 4) if outer else 6)


def test_what_uses_a_side_without_a_value_is_skipped_and_an_output_is_none(world: World) -> None:
    plan = Planned()
    branch = plan.branch("yes", yes=value(False))
    side = plan.add("one", guard=(branch, True))
    result = plan.merge(branch, then=step(side))
    user = plan.add("double", x=step(result))
    finished = world.run(plan, result=step(user))
    assert world.states()[str(user)] == "skipped"
    assert finished["status"] == "succeeded"
    assert world.output() is None


def test_a_list_output_has_none_in_the_place_of_what_was_skipped(world: World) -> None:
    plan = Planned()
    branch = plan.branch("yes", yes=value(False))
    skipped, made = plan.add("one", guard=(branch, True)), plan.add("double", x=value(2))
    world.run(plan, result={"list": [step(skipped), step(made)]})
    assert world.output() == [None, 4]


@pytest.mark.parametrize(("given", "told"), [("yes", "true or false"), ([True], "takes numbers, texts, booleans")])
def test_a_branch_on_a_non_boolean_fails_and_says_so(world: World, given: Any, told: str) -> None:
    plan = Planned()
    branch = plan.branch("answer", answer=value(given))
    side = plan.add("one", guard=(branch, True))
    result = plan.merge(branch, then=step(side), otherwise=value(0))
    finished = world.run(plan, result=step(result))
    assert finished["status"] == "failed"
    assert finished["error"]["type"] == "ConditionError"
    assert told in finished["error"]["message"]
    assert "answer" in finished["error"]["message"]
    assert finished["counts"]["failed"] == 1
    assert world.states()[str(side)] == "upstream_failed"


def test_a_failure_in_the_side_that_was_taken_is_not_hidden_by_the_join(world: World) -> None:
    plan = Planned()
    branch = plan.branch("yes", yes=value(True))
    bad = plan.add("fail", guard=(branch, True), x=value(1))
    other = plan.add("one", guard=(branch, False))
    result = plan.merge(branch, then=step(bad), otherwise=step(other))
    user = plan.add("double", x=step(result))
    assert world.run(plan, result=step(user))["status"] == "failed"
    assert world.states()[str(user)] == "upstream_failed"


def test_a_mapped_step_in_a_side_not_taken_never_opens(world: World) -> None:
    plan = Planned()
    branch = plan.branch("yes", yes=value(False))
    mapped = plan.add("double", guard=(branch, True), map_over=["x"], x=value([1, 2]))
    result = plan.merge(branch, then=step(mapped), otherwise=value([5]))
    total = plan.add("total", items=step(result))
    world.run(plan, result=step(total))
    assert world.output() == 5
    assert world.events("r1", "map.opened") == []


def test_a_branch_behind_hits_is_decided_with_them(world: World) -> None:
    """The cascade looks ahead: what a branch does not choose must not be sent."""
    for run in ("r1", "r2"):
        plan = Planned()
        first = plan.add("double", cache=True, x=value(2))
        branch = plan.branch({"test": "eq", "of": ["a", "b"]}, a=step(first), b=value(4))
        sides = [plan.add("double", cache=True, guard=(branch, side), x=step(first)) for side in (True, False)]
        result = plan.merge(branch, then=step(sides[0]), otherwise=step(sides[1]))
        world.run(plan, run, result=step(result))
        assert world.output(run) == 8
        assert world.states(run)[str(sides[1])] == "skipped"
    assert len(world.executor.ran) == 2
