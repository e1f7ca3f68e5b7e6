"""A rebuild knows what was tried: no attempt that the record has is made again, and none beyond the budgets."""

from celesta.runtime.failures import plain_error
from tests.integration.engine.harness import Planned, World, value
from tests.integration.engine.test_rebuilds import _all_deadlines_pass, _lose
from workers.engine import Ended, complete, keys, rebuild, settling, start
from workers.engine.waiting import Tried, Waits


def _failing(world: World, retries: int) -> str:
    plan = Planned()
    plan.add("fail", x=value(1), retry={"max": retries, "backoff_seconds": 600})
    return world.plan(plan)


def _rebuilt(world: World, digest: str, tried: Tried) -> None:
    _lose(world)
    waits = Waits(tried={"0": tried})
    rebuild(world.engine, world.source("r1", digest, status="running", waits=lambda: waits))


def _until_it_ends(world: World, digest: str) -> None:
    for _ in range(6):
        _all_deadlines_pass(world, digest)
        world.drain()
    assert world.finished()["status"] == "failed"


def _began(world: World) -> list[str]:
    return [event["token"] for event in world.events("r1", "step.running")]


def test_a_backoff_and_what_is_spent_of_a_budget_outlive_redis(world: World) -> None:
    digest = _failing(world, retries=1)
    world.start("r1", digest)
    world.drain()
    (retry,) = world.events("r1", "step.retry")
    _rebuilt(world, digest, Tried("1.1", True, {"user": 1}, retry["at_or_after_ms"]))
    assert world.client.zscore(keys.INFLIGHT, "r1|0") == retry["at_or_after_ms"]
    assert world.client.hget(keys.states("r1"), "0").startswith(b"backoff|2.2|")
    _until_it_ends(world, digest)
    assert (_began(world), world.executor.ran) == (["2.2"], ["0", "0"])


def test_a_late_word_of_an_attempt_that_is_known_to_be_over_spends_nothing_more(world: World) -> None:
    """Its next attempt may be at work: it has a lease to say so."""
    digest = _failing(world, retries=2)
    _rebuilt(world, digest, Tried("1.1", True, {"user": 1}, until_ms=1))
    failed = settling.failure(plain_error("ValueError", "no", "user"))
    assert complete(world.engine, "r1", [Ended("0", "1.1", failed)]) == ["stale"]
    renewed = {"steps": [["0", "1.1"], ["0", "1.2"]], "owner": "there:2", "lease": 10_000}
    assert world.engine.call("renew", "r1", **renewed)["answers"] == ["stale", "ok"]
    assert complete(world.engine, "r1", [Ended("0", "1.2", failed)]) == ["retry"]
    _until_it_ends(world, digest)
    assert _began(world) == ["2.3"]


def test_an_attempt_that_was_at_work_and_says_nothing_is_followed_by_the_next(world: World) -> None:
    digest = _failing(world, retries=1)
    _rebuilt(world, digest, Tried("1.2", False, {"system": 1}))
    failed = settling.failure(plain_error("ValueError", "no", "user"))
    assert complete(world.engine, "r1", [Ended("0", "1.1", failed)]) == ["stale"], "it was lost before"
    _until_it_ends(world, digest)
    assert _began(world) == ["2.3", "2.4"]


def test_what_a_rebuilt_step_has_spent_since_is_kept_by_who_resumes_the_rebuild(world: World) -> None:
    digest = _failing(world, retries=1)
    tried = Tried("1.1", True, {"user": 1}, until_ms=1)
    _rebuilt(world, digest, tried)
    source = world.source("r1", digest, status="running", waits=lambda: Waits(tried={"0": tried}))
    world.client.hset(keys.meta("r1"), "opening", 1)
    world.client.hset(keys.states("r1"), "0", "asking|2.4|user:1;system:2;|0|")
    start(world.engine, source)
    assert world.client.hget(keys.states("r1"), "0").startswith(b"sent|2.4|user:1;system:2;|")
