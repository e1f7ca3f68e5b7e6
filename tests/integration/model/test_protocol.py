"""The engine's protocol, explored: no history of these runs breaks an invariant, and each can go on to its end."""

import pytest

from tests.integration.model.explore import explore
from tests.integration.model.protocol import Protocol
from tests.integration.model.states import Faults, Rules, Shape

ONE = Shape({"a": ()})
CHAIN = Shape({"a": (), "j": ("a",)})
JOIN = Shape({"a": (), "b": (), "j": ("a", "b")})
RETRIED = Shape({"a": (), "j": ("a",)}, outcomes={"a": ("ok", "fail")}, retries=1)
SKIPPED = Shape({"a": (), "b": ("a",), "c": ("a",), "j": ("b", "c")}, skips={"b": "a"})
SHARED = Shape({"a": (), "b": ()}, keys={"a": "k", "b": "k"})
CACHED_JOIN = Shape({"a": (), "b": (), "j": ("a", "b")}, keys={"a": "k", "b": "k", "j": "l"})

TRIED = {
    "a join, nothing happens": (JOIN, Faults()),
    "a join, a crash and a second delivery": (JOIN, Faults(crash=1, duplicate=1)),
    "a join, Redis lost": (JOIN, Faults(lose_redis=1)),
    "a chain, Redis lost, a crash, a second delivery": (CHAIN, Faults(lose_redis=1, crash=1, duplicate=1)),
    "a chain, Redis lost twice": (CHAIN, Faults(lose_redis=2)),
    "a chain, a worker that sleeps, Redis lost": (CHAIN, Faults(sleep=1, lose_redis=1, duplicate=1)),
    "a join, cancelled, a crash": (JOIN, Faults(cancel=1, crash=1)),
    "a chain, cancelled, Redis lost": (CHAIN, Faults(cancel=1, lose_redis=1)),
    "a join, paused, a crash": (JOIN, Faults(pause=1, crash=1)),
    "a failure tried again, a crash, Redis lost": (RETRIED, Faults(crash=1, lose_redis=1)),
    "a failure tried again, cancelled": (RETRIED, Faults(cancel=1, crash=1)),
    "a skipped branch, a crash": (SKIPPED, Faults(crash=1)),
    "one flight for two steps, a worker that sleeps": (SHARED, Faults(crash=1, sleep=1)),
    "one flight for two steps, Redis lost": (SHARED, Faults(crash=1, lose_redis=1)),
    "one flight below a join, cancelled": (CACHED_JOIN, Faults(crash=1, cancel=1)),
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
    "look_for_manifests": (Rules(look_for_manifests=False), ONE, Faults(crash=1)),
    "guard_missing_runs": (Rules(guard_missing_runs=False), ONE, Faults(lose_redis=1, duplicate=1)),
    "compare_and_set": (Rules(compare_and_set=False), CHAIN, Faults(cancel=1)),
    "stop_when_paused": (Rules(stop_when_paused=False), ONE, Faults(pause=1)),
}


@pytest.mark.parametrize(("rules", "shape", "faults"), NEEDED.values(), ids=NEEDED)
def test_without_one_safeguard_a_violation_is_found(rules: Rules, shape: Shape, faults: Faults) -> None:
    assert explore(Protocol(shape, faults, rules)).violation
