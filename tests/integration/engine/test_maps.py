"""Mapped steps: chords whose header is made while the run goes on."""

import pytest

from tests.integration.engine.harness import Planned, World, step, value
from workers.engine import keys, mapping

ITEM_BYTES = 320
"""What an item may keep in Redis until its run ends: 50,000 of them 16 MB."""


def test_the_width_of_a_map_is_that_of_its_list(world: World) -> None:
    plan = Planned()
    numbers = plan.add("count", n=value(40))
    doubled = plan.add("double", map_over=["x"], x=step(numbers))
    total = plan.add("total", items=step(doubled))
    finished = world.run(plan, result=step(total))
    assert world.output() == 40 * 39
    assert finished["counts"] == {"total": 42, "succeeded": 42, "cached": 0, "failed": 0, "skipped": 0, "cancelled": 0}
    (opened,) = world.events("r1", "map.opened")
    assert (opened["node"], opened["width"], opened["known"]) == ("1", 40, 43)


def test_items_are_named_by_their_place(world: World) -> None:
    plan = Planned()
    plan.add("double", map_over=["x"], x=value([5, 6, 7]))
    world.run(plan, result=step(0))
    assert world.output() == [10, 12, 14]
    paths = {event["node"]: event["path"] for event in world.events("r1", "step.settled")}
    assert paths == {"0.0": "double#0[0]", "0.1": "double#0[1]", "0.2": "double#0[2]", "0": "double#0"}


def test_inputs_that_are_not_mapped_are_the_same_for_each_item(world: World) -> None:
    plan = Planned()
    plan.add("add", map_over=["a"], a=value([1, 2]), b=value(10))
    world.run(plan, result=step(0))
    assert world.output() == [11, 12]


def test_a_list_of_steps_is_mapped_over_step_by_step(world: World) -> None:
    plan = Planned()
    made = [plan.add("double", x=value(n)) for n in range(3)]
    mapped = plan.add("double", map_over=["x"], x={"list": [step(n) for n in made]})
    world.run(plan, result=step(mapped))
    assert world.output() == [0, 4, 8]


def test_an_empty_list_gives_an_empty_list(world: World) -> None:
    plan = Planned()
    mapped = plan.add("double", map_over=["x"], x=value([]))
    total = plan.add("total", items=step(mapped))
    finished = world.run(plan, result=step(total))
    assert world.output() == 0
    assert finished["counts"]["total"] == 1


def test_failed_items_fail_the_map_after_all_have_settled(world: World) -> None:
    plan = Planned()
    mapped = plan.add("odd", map_over=["x"], x=value([1, 2, 3, 4]))
    after = plan.add("total", items=step(mapped))
    finished = world.run(plan, result=step(after))
    assert world.states() == {
        "0.0": "succeeded",
        "0.1": "failed",
        "0.2": "succeeded",
        "0.3": "failed",
        "0": "failed",
        "1": "upstream_failed",
    }
    assert finished["error"]["path"] == "odd#0[1]"
    gather = next(e for e in world.events("r1", "step.settled") if e["node"] == "0")
    assert "2 of its items" in gather["outcome"]["error"]["message"]
    assert "odd#0[1]" in gather["outcome"]["error"]["message"]
    assert finished["counts"] == {"total": 5, "succeeded": 2, "cached": 0, "failed": 2, "skipped": 1, "cancelled": 0}


def test_lists_of_different_lengths_fail_the_step_by_name(world: World) -> None:
    plan = Planned()
    plan.add("add", map_over=["a", "b"], a=value([1, 2]), b=value([1]))
    finished = world.run(plan)
    assert finished["status"] == "failed"
    assert "a has 2, b has 1" in finished["error"]["message"]
    assert finished["counts"]["failed"] == 1


def test_a_map_that_cannot_open_tells_what_it_was_given(world: World) -> None:
    plan = Planned()
    made = plan.add("one")
    plan.add("add", map_over=["a"], a=step(made), b=value(7))
    world.run(plan)
    (failed,) = [event for event in world.events("r1", "step.settled") if event["state"] == "failed"]
    assert failed["outcome"]["error"]["type"] == "CodecError"
    assert failed["input_digests"] == {"a": value(1)["value"]["digest"], "b": value(7)["value"]["digest"]}


def test_a_map_wider_than_a_chunk_opens_in_several_calls(world: World) -> None:
    plan = Planned()
    numbers = plan.add("count", n=value(2_500))
    doubled = plan.add("double", map_over=["x"], x=step(numbers))
    total = plan.add("total", items=step(doubled))
    finished = world.run(plan, result=step(total))
    assert world.output() == 2_500 * 2_499
    assert finished["counts"]["total"] == 2_502


def test_a_map_over_more_items_than_a_run_may_have_fails_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "MOST_STEPS", 10)
    plan = Planned()
    plan.add("double", map_over=["x"], x=step(plan.add("count", n=value(11))))
    finished = world.run(plan)
    assert "maps over 11 items: a map may have 10" in finished["error"]["message"]
    assert finished["counts"] == {"total": 2, "succeeded": 1, "cached": 0, "failed": 1, "skipped": 0, "cancelled": 0}


def test_a_mapped_step_may_be_mapped_over_again(world: World) -> None:
    plan = Planned()
    once = plan.add("double", map_over=["x"], x=value([1, 2, 3]))
    twice = plan.add("double", map_over=["x"], x=step(once))
    world.run(plan, result=step(twice))
    assert world.output() == [4, 8, 12]


@pytest.mark.parametrize(
    ("ratio", "status"), [(0.5, "succeeded"), (0.6, "succeeded"), (0.61, "failed"), (1.0, "failed")]
)
def test_a_map_succeeds_when_enough_of_its_items_do(world: World, ratio: float, status: str) -> None:
    plan = Planned(options={"policy": "fail_fast"} if ratio < 1 else {})
    mapped = plan.add("odd", map_over=["x"], ratio=ratio, x=value([1, 2, 3, 4, 5]))
    finished = world.run(plan, result=step(mapped))
    assert finished["status"] == status
    assert (finished["counts"]["succeeded"], finished["counts"]["failed"]) == (3, 2)
    if status == "succeeded":
        assert world.output() == [1, None, 3, None, 5]
        assert finished["error"] is None
    else:
        assert world.states()["0"] == "failed"
        assert "2 of its items did not succeed" in world.events("r1", "step.settled")[-1]["outcome"]["error"]["message"]


def test_an_empty_map_succeeds_by_any_ratio(world: World) -> None:
    plan = Planned()
    mapped = plan.add("odd", map_over=["x"], ratio=0.5, x=value([]))
    world.run(plan, result=step(mapped))
    assert world.output() == []


def test_an_item_keeps_little_in_redis(world: World) -> None:
    plan, width = Planned(), 1_000
    numbers = plan.add("count", n=value(width))
    plan.add("double", map_over=["x"], x=step(numbers))
    finished = world.run(plan)
    assert finished["counts"]["succeeded"] == width + 1
    kept = sum(world.client.memory_usage(key, samples=0) or 0 for key in world.client.keys("*:r1:*"))
    assert kept < width * ITEM_BYTES
    assert world.client.zcard(keys.INFLIGHT) == 0
