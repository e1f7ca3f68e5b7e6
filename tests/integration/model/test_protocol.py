"""The engine's protocol, explored: no history of these runs breaks an invariant, and each can go on to its end."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.integration.model.explore import explore
from tests.integration.model.protocol import Protocol
from tests.integration.model.states import Faults, Rules, Shape, Step

ONE = Shape({"a": ()})
CHAIN = Shape({"a": (), "j": ("a",)})
JOIN = Shape({"a": (), "b": (), "j": ("a", "b")})
RETRIED = Shape({"a": (), "j": ("a",)}, outcomes={"a": ("ok", "fail")}, retries=1)
RETRIED_ONE = Shape({"a": ()}, outcomes={"a": ("ok", "fail")}, retries=1, losses=0, remembers=True)
LOST_ONE = Shape({"a": ()}, losses=1, remembers=True)
SKIPPED = Shape({"a": (), "b": ("a",), "c": ("a",), "j": ("b", "c")}, skips={"b": "a"})
SHARED = Shape({"a": (), "b": ()}, keys={"a": "k", "b": "k"})
CACHED_JOIN = Shape({"a": (), "b": (), "j": ("a", "b")}, keys={"a": "k", "b": "k", "j": "l"})
LIMITED = Shape({"a": (), "b": (), "j": ("a", "b")}, limited=frozenset("ab"), places=1)
LIMITED_RETRY = Shape({"a": (), "b": ()}, outcomes={"a": ("ok", "fail")}, retries=1, limited=frozenset("ab"), places=1)


D = frozenset({"d"})
ASKED = Shape({"a": (), "w": ("a",), "j": ("w",)}, waits=frozenset("w"))


def _map(items: int, join: bool = False, **more: Any) -> Shape:
    parts = tuple(f"m.{item}" for item in range(items))
    return Shape({"m": (), **dict.fromkeys(parts, ()), **({"j": ("m",)} if join else {})}, parts={"m": parts}, **more)


def _dynamic(parts: Mapping[Step, tuple[Step, ...]], join: bool = False) -> Shape:
    steps = {"d": (), **parts, **({"j": ("d",)} if join else {})}
    return Shape(steps, parts={"d": tuple(parts)}, dynamic=D)


EMPTY = _map(0, join=True)
ITEM = _map(1)
GATHERED_ITEM = _map(1, join=True)
ITEMS = _map(2)
MAP = _map(2, join=True)
MADE_MAP = Shape({"a": (), "m": ("a",), "m.0": ()}, parts={"m": ("m.0",)})
MOST_OF_A_MAP = _map(2, join=True, outcomes={"m.0": ("ok", "fail")}, enough={"m": 1})
RETRIED_ITEM = _map(1, outcomes={"m.0": ("ok", "fail")}, retries=1)
PLAN = _dynamic({"d/0": ()})
GATHERED_PLAN = _dynamic({"d/0": ()}, join=True)
CHAIN_IN_A_PLAN = _dynamic({"d/0": (), "d/1": ("d/0",)})
REFUSED_PLAN = Shape({"d": (), "d/0": (), "b": ()}, parts={"d": ("d/0",)}, dynamic=D, refused=D)
REFUSED_PLAN_LATER = Shape({"a": (), "d": ("a",), "d/0": ()}, parts={"d": ("d/0",)}, dynamic=D, refused=D)

TRIED = {
    "a join, nothing happens": (JOIN, Faults()),
    "a join, a crash and a second delivery": (JOIN, Faults(crash=1, duplicate=1)),
    "a join, Redis lost": (JOIN, Faults(lose_redis=1)),
    "a chain, Redis lost, a crash, a second delivery": (CHAIN, Faults(lose_redis=1, crash=1, duplicate=1)),
    "a chain, Redis lost twice": (CHAIN, Faults(lose_redis=2)),
    "a chain, a worker that sleeps, Redis lost": (CHAIN, Faults(sleep=1, lose_redis=1)),
    "a worker that sleeps, Redis lost, a second delivery": (ONE, Faults(sleep=1, lose_redis=1, duplicate=1)),
    "Redis lost, two rebuilds at once": (ONE, Faults(lose_redis=1, slow_start=1)),
    "Redis lost, three rebuilds at once, a crash": (ONE, Faults(lose_redis=1, slow_start=2, crash=1)),
    "a chain, Redis lost, two rebuilds at once": (CHAIN, Faults(lose_redis=1, slow_start=1)),
    "a join, cancelled, a crash": (JOIN, Faults(cancel=1, crash=1)),
    "a chain, cancelled, Redis lost": (CHAIN, Faults(cancel=1, lose_redis=1)),
    "a join, paused, a crash": (JOIN, Faults(pause=1, crash=1)),
    "a failure tried again, a crash, Redis lost": (RETRIED, Faults(crash=1, lose_redis=1)),
    "a failure that is recorded, Redis lost": (RETRIED_ONE, Faults(lose_redis=1)),
    "a loss that is recorded, a worker that sleeps, Redis lost": (LOST_ONE, Faults(sleep=1, lose_redis=1)),
    "a failure tried again, cancelled": (RETRIED, Faults(cancel=1, crash=1)),
    "a skipped branch, a crash": (SKIPPED, Faults(crash=1)),
    "one flight for two steps, a worker that sleeps": (SHARED, Faults(crash=1, sleep=1)),
    "one flight for two steps, Redis lost": (SHARED, Faults(crash=1, lose_redis=1)),
    "one flight below a join, cancelled": (CACHED_JOIN, Faults(crash=1, cancel=1)),
    "a question, Redis lost": (ASKED, Faults(lose_redis=1)),
    "a question, cancelled, paused": (ASKED, Faults(cancel=1, pause=1)),
    "a limit, a crash and a second delivery": (LIMITED, Faults(crash=1, duplicate=1)),
    "a limit, paused, a worker that sleeps": (LIMITED, Faults(pause=1, sleep=1)),
    "a limit, a failure tried again, cancelled, a crash": (LIMITED_RETRY, Faults(cancel=1, crash=1)),
    "a map of nothing, cancelled, a crash, Redis lost": (EMPTY, Faults(crash=1, cancel=1, lose_redis=1)),
    "a map, a crash": (MAP, Faults(crash=1)),
    "a map, a crash and a second delivery": (ITEMS, Faults(crash=1, duplicate=1)),
    "a map, opened by two": (ITEMS, Faults(sleep=1)),
    "a map, cancelled, a crash": (ITEMS, Faults(cancel=1, crash=1)),
    "a map, paused, a crash": (ITEMS, Faults(pause=1, crash=1)),
    "a map that may fail in part, a crash": (MOST_OF_A_MAP, Faults(crash=1)),
    "an item tried again, Redis lost": (RETRIED_ITEM, Faults(lose_redis=1)),
    "a map of what a step makes, Redis lost": (MADE_MAP, Faults(lose_redis=1)),
    "a map and what follows it, Redis lost": (GATHERED_ITEM, Faults(lose_redis=1)),
    "a map, Redis lost, a crash": (ITEM, Faults(lose_redis=1, crash=1)),
    "a map, opened by two, Redis lost": (ITEM, Faults(lose_redis=1, sleep=1)),
    "a map, cancelled, Redis lost": (ITEM, Faults(lose_redis=1, cancel=1)),
    "a dynamic step, cancelled, a crash": (GATHERED_PLAN, Faults(cancel=1, crash=1)),
    "a dynamic step, a worker that sleeps": (GATHERED_PLAN, Faults(sleep=1)),
    "a dynamic step and what follows it, Redis lost": (GATHERED_PLAN, Faults(lose_redis=1)),
    "a dynamic step, a worker that sleeps, Redis lost": (PLAN, Faults(lose_redis=1, sleep=1)),
    "a plan that is refused, Redis lost": (REFUSED_PLAN, Faults(lose_redis=1)),
    "a plan that is refused after a step, Redis lost": (REFUSED_PLAN_LATER, Faults(lose_redis=1)),
    "a chain in a plan, a crash": (CHAIN_IN_A_PLAN, Faults(crash=1)),
    "a chain in a plan, cancelled": (CHAIN_IN_A_PLAN, Faults(cancel=1, crash=1)),
    "a dynamic step, cancelled, Redis lost": (PLAN, Faults(cancel=1, lose_redis=1)),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("shape", "faults"), TRIED.values(), ids=TRIED)
def test_no_history_breaks_an_invariant_and_every_run_can_end(shape: Shape, faults: Faults) -> None:
    found = explore(Protocol(shape, faults))
    assert not found.violation, f"{found.violation}, after: {', '.join(found.path)}"
    assert found.ends


NEEDED = {
    "fence_attempts": (Rules(fence_attempts=False), ONE, Faults(sleep=1, duplicate=1)),
    "fence_tokens": (Rules(fence_tokens=False), RETRIED, Faults(sleep=1)),
    "record_winners": (Rules(record_winners=False), CHAIN, Faults(sleep=1, lose_redis=2)),
    "keep_budgets": (Rules(keep_budgets=False), RETRIED_ONE, Faults(lose_redis=1)),
    "fence_what_is_over": (Rules(fence_what_is_over=False), LOST_ONE, Faults(sleep=1, lose_redis=1)),
    "look_for_manifests": (Rules(look_for_manifests=False), ONE, Faults(crash=1)),
    "guard_missing_runs": (Rules(guard_missing_runs=False), ONE, Faults(lose_redis=1, duplicate=1)),
    "compare_and_set": (Rules(compare_and_set=False), CHAIN, Faults(cancel=1)),
    "stop_when_paused": (Rules(stop_when_paused=False), ONE, Faults(pause=1)),
    "know_when_opening": (Rules(know_when_opening=False), ITEMS, Faults()),
    "ask_each_once": (Rules(ask_each_once=False), ITEMS, Faults(sleep=1)),
    "mark_when_all_are_asked": (Rules(mark_when_all_are_asked=False), ITEMS, Faults(crash=1)),
    "fence_openers": (Rules(fence_openers=False), ITEM, Faults(lose_redis=1, sleep=1)),
    "open_once": (Rules(open_once=False), PLAN, Faults(sleep=1)),
    "gather_again": (Rules(gather_again=False), ITEM, Faults(crash=1)),
    "cancel_what_was_not_asked": (Rules(cancel_what_was_not_asked=False), ITEMS, Faults(cancel=1)),
    "watch_until_told": (Rules(watch_until_told=False), ONE, Faults(lose_redis=1)),
    "refuse_in_rebuilds": (Rules(refuse_in_rebuilds=False), REFUSED_PLAN, Faults(lose_redis=1)),
    "raise_once": (Rules(raise_once=False, compare_epochs=False), ONE, Faults(lose_redis=1, slow_start=2)),
    "fence_starters": (Rules(fence_starters=False), ONE, Faults(lose_redis=1, slow_start=2)),
    "compare_epochs": (Rules(fence_starters=False, compare_epochs=False), ONE, Faults(lose_redis=1, slow_start=2)),
    "ask_the_record": (Rules(ask_the_record=False), ASKED, Faults()),
    "count_places": (Rules(count_places=False), LIMITED, Faults()),
    "fill_places": (Rules(fill_places=False), LIMITED, Faults()),
    "rebuild_by_results, a chain": (Rules(rebuild_by_results=False), CHAIN, Faults(lose_redis=1)),
    "rebuild_by_results, a map": (Rules(rebuild_by_results=False), GATHERED_ITEM, Faults(lose_redis=1)),
}


@pytest.mark.parametrize(("rules", "shape", "faults"), NEEDED.values(), ids=NEEDED)
def test_without_one_safeguard_a_violation_is_found(rules: Rules, shape: Shape, faults: Faults) -> None:
    assert explore(Protocol(shape, faults, rules)).violation
