"""Steps that wait for an answer or a time are in flight without a message, and end once."""

import pytest

from tests.integration.engine.harness import Planned, World, step, value
from workers.engine import answer, control, keys, overdue
from workers.engine.starting import rebuild
from workers.engine.waiting import Answer, Waits

YES, NO = (Answer(value(given)["value"], "ada", "looks fine") for given in (True, False))
NOBODY = Answer(None, "", "")


def _let_time_pass(world: World, answers: dict[str, Answer] | None = None) -> None:
    """All deadlines are over, and the reconciler looks; `answers` is what the database says at a timeout."""
    for name in world.client.zrange(keys.INFLIGHT, 0, -1):
        world.client.zadd(keys.INFLIGHT, {name: 1})
    overdue.sweep(world.engine, lambda: 1, lambda run: None, lambda run, nodes: {n: (answers or {})[n] for n in nodes})


def _asking(world: World, **options: object) -> str:
    """A run whose first step is done, that asks, and that would then double."""
    plan = Planned()
    first = plan.add("one")
    asks = plan.wait("approve", after=(first,), message="Deploy?", **options)
    plan.add("double", x=step(first), after=(asks,))
    digest = world.plan(plan, result=step(asks))
    world.start("r1", digest)
    world.drain()
    return digest


def _state(world: World, node: str) -> str:
    return (world.client.hget(keys.states("r1"), node) or b"").split(b"|")[0].decode()


def test_a_question_keeps_no_message_and_no_lease(world: World) -> None:
    _asking(world)
    assert world.published == [("r1", [["0", 1]])]
    assert _state(world, "1") == "parked"
    told = world.events("r1", "step.parked")
    assert [(e["node"], e["waits_for"], e["message"], e["role"], e["until_ms"]) for e in told] == [
        ("1", "approve", "Deploy?", "editor", None)
    ]


def test_an_answer_is_the_output_and_what_comes_after_runs(world: World) -> None:
    _asking(world)
    answer(world.engine, "r1", {"1": YES})
    world.drain()
    assert world.states() == {"0": "succeeded", "1": "succeeded", "2": "succeeded"}
    assert world.output() is True
    assert world.client.zcard(keys.INFLIGHT) == 0


def test_an_answer_that_comes_twice_counts_once(world: World) -> None:
    _asking(world)
    answer(world.engine, "r1", {"1": NO})
    before = world.dump()
    answer(world.engine, "r1", {"1": YES})
    assert world.dump() == before
    world.drain()
    assert world.output() is False


def test_an_answer_to_what_does_not_ask_yet_changes_nothing(world: World) -> None:
    plan = Planned()
    plan.wait("approve", after=(plan.add("one"),))
    world.start("r1", world.plan(plan))
    before = world.dump()
    answer(world.engine, "r1", {"1": YES})
    assert world.dump() == before


def test_a_no_fails_a_step_that_requires_a_yes(world: World) -> None:
    _asking(world, required=True)
    answer(world.engine, "r1", {"1": NO})
    assert world.states() == {"0": "succeeded", "1": "failed", "2": "upstream_failed"}
    assert world.finished()["error"] == {
        "path": "approve#1", "type": "Refused", "message": "ada said no: looks fine", "kind": "user",
    }  # fmt: skip


def test_a_question_without_a_timeout_waits_on(world: World) -> None:
    _asking(world)
    for _ in range(3):
        _let_time_pass(world)
    assert _state(world, "1") == "parked"
    answer(world.engine, "r1", {"1": YES})
    world.drain()
    assert world.finished()["status"] == "succeeded"


@pytest.mark.parametrize(
    ("default", "ended"), [(None, ("failed", "Timeout")), (value(False)["value"], ("succeeded", None))]
)
def test_a_timeout_is_a_failure_or_the_default(world: World, default: object, ended: tuple[str, str | None]) -> None:
    _asking(world, timeout=60, default=default)
    until_ms = world.events("r1", "step.parked")[0]["until_ms"]
    assert 59_000 < until_ms - world.events("r1", "step.parked")[0]["at_ms"] <= 60_000
    _let_time_pass(world, {"1": NOBODY})
    world.drain()
    finished = world.finished()
    assert (finished["status"], (finished["error"] or {}).get("type")) == ended


def test_an_answer_that_was_committed_before_the_timeout_counts(world: World) -> None:
    _asking(world, timeout=60)
    _let_time_pass(world, {"1": YES})
    world.drain()
    assert world.output() is True


def test_a_sleep_ends_at_its_deadline(world: World) -> None:
    plan = Planned()
    nap = plan.wait("sleep", seconds=0.05)
    last = plan.add("one", after=(nap,))
    world.start("r1", world.plan(plan, result=step(last)))
    overdue.sweep(world.engine, lambda: 0, lambda run: None, lambda run, nodes: {})
    assert (_state(world, "0"), world.published) == ("parked", [])
    _let_time_pass(world)
    world.drain()
    assert world.output() == 1


def test_a_time_that_is_none_fails_the_sleep(world: World) -> None:
    plan = Planned()
    plan.wait("sleep", seconds=-1)
    assert "seconds" in world.run(plan)["error"]["message"]


def test_a_paused_run_keeps_an_answer_and_goes_on_with_it(world: World) -> None:
    _asking(world)
    control(world.engine, "r1", "pause")
    answer(world.engine, "r1", {"1": YES})
    world.drain()
    assert _state(world, "2") == "ready"
    control(world.engine, "r1", "run")
    world.drain()
    assert world.finished()["status"] == "succeeded"


def test_a_cancelled_run_asks_no_longer(world: World) -> None:
    _asking(world)
    control(world.engine, "r1", "cancel")
    assert world.finished()["status"] == "cancelled"
    answer(world.engine, "r1", {"1": YES})
    assert world.states() == {"0": "succeeded", "1": "cancelled", "2": "cancelled"}
    assert world.client.zcard(keys.INFLIGHT) == 0


def test_an_answer_outlives_redis(world: World) -> None:
    digest = _asking(world)
    world.client.flushall()
    rebuild(world.engine, world.source("r1", digest, status="running", waits=lambda: Waits({"1": YES})))
    world.drain()
    assert world.states()["1"] == "succeeded"


def test_a_deadline_outlives_redis(world: World) -> None:
    plan = Planned()
    plan.wait("sleep", seconds=1000)
    digest = world.plan(plan)
    world.start("r1", digest)
    until_ms = world.events("r1", "step.parked")[0]["until_ms"]
    world.client.flushall()
    rebuild(world.engine, world.source("r1", digest, status="running", waits=lambda: Waits({}, {"0": until_ms})))
    assert world.client.zscore(keys.INFLIGHT, keys.member("r1", "0")) == until_ms
    assert world.events("r1", "step.parked")[0]["until_ms"] == until_ms
