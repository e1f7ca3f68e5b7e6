"""Work that ends elsewhere: who keeps its lease, who says when it ended, and what becomes of it when nobody speaks."""

import json
import time
from typing import Any

import pytest

from celesta.errors import CelestaError, StoreError
from celesta.store.base import step_prefix
from tests.integration.engine.harness import Planned, World, result_of, step, value
from workers.engine import Ended, complete, control, external, keys, overdue
from workers.engine.external import Launched, ended_elsewhere, vouch
from workers.engine.leases import Leases
from workers.engine.starting import rebuild

PLACE = "tests"


class Elsewhere:
    """Answers for launched work as a test wants; counts the questions."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer: dict[str, Any] | Exception | None = None

    def reconcile(self, attempt: dict[str, Any]) -> dict[str, Any] | None:
        self.asked.append(attempt["path"])
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def elsewhere(world: World) -> Elsewhere:
    """The first of two steps is launched; its executor is asked through the engine."""
    made = Elsewhere()
    world.engine.place = lambda name: made if name == PLACE else pytest.fail(name)
    world.executor.submit = lambda document: None  # type: ignore[method-assign]
    plan = Planned()
    first = plan.add("one", cache=True)
    plan.add("double", x=step(first))
    world.start("r1", world.plan(plan, result=step(1)))
    assert world.work() == []
    return made


def _record(world: World, node: str = "0") -> list[str]:
    return (world.client.hget(keys.states("r1"), node) or b"").decode().split("|")


def _due(world: World) -> None:
    for name in world.client.zrange(keys.INFLIGHT, 0, -1):
        world.client.zadd(keys.INFLIGHT, {name: 1})


def _sweep(world: World) -> None:
    overdue.sweep(world.engine, lambda: 0, lambda run: None, lambda run, nodes: {})


def _result(world: World, token: str = "1.1") -> None:
    attempt = {"run": "r1", "path": "one#0", "node": "0", "token": token}
    outcome = result_of(attempt, result=value(1)["value"])
    world.store.create(f"{step_prefix('r1', 'one#0', token)}result.json", json.dumps(outcome).encode())


def _lost() -> dict[str, Any]:
    error = {"type": "Lost", "message": "gone", "traceback": "", "kind": "system"}
    attempt = {"run": "r1", "path": "one#0", "node": "0", "token": "1.1"}
    return result_of(attempt) | {"status": "failed", "error": error}


def test_a_launched_step_belongs_to_its_executor_and_no_worker_waits(world: World, elsewhere: Elsewhere) -> None:
    assert _record(world)[0] == "external"
    assert _record(world)[-1] == PLACE
    assert world.worker.batch is None


def test_its_flight_is_its_executors_too_while_the_rest_of_its_message_runs(world: World) -> None:
    plan = Planned()
    plan.add("double", map_over=["x"], cache=True, x=value([1, 2]))
    world.start("r1", world.plan(plan))
    left: list[int] = []

    def launch(document: dict[str, Any]) -> None:
        Leases(world.worker).tick()
        left.append(max(world.client.pttl(name) for name in world.client.keys("celesta:flight:*")))

    world.executor.submit = launch  # type: ignore[method-assign]
    world.worker.run("r1", [["0.0", 1], ["0.1", 1]], lambda ended: None)
    assert left[0] <= world.engine.lease_ms < left[1]


def test_its_end_completes_it_and_is_cached(world: World, elsewhere: Elsewhere) -> None:
    _result(world)
    ended = ended_elsewhere(world.engine, "r1", [("0", "1.1")])
    assert complete(world.engine, "r1", ended) == ["ok"]
    assert complete(world.engine, "r1", ended) == ["done"]
    assert world.states() == {"0": "succeeded"}
    assert world.client.hlen(keys.cache("p")) == 1
    assert list(world.client.keys("celesta:flight:*")) == []


def test_an_end_that_comes_before_the_launch_was_told_counts(world: World) -> None:
    def submit(document: dict[str, Any]) -> None:
        _result(world)
        complete(world.engine, "r1", ended_elsewhere(world.engine, "r1", [("0", "1.1")]))

    world.executor.submit = submit  # type: ignore[method-assign,assignment]
    plan = Planned()
    plan.add("one")
    world.start("r1", world.plan(plan, result=step(0)))
    world.work()
    assert world.output() == 1
    assert world.executor.cancelled == [("r1", "0", "1.1")]  # for whom it is stale: the pod is of no more use


def test_a_worker_that_dies_before_it_could_hand_over_loses_nothing(world: World) -> None:
    plan = Planned()
    plan.add("one")
    world.start("r1", world.plan(plan))
    run, steps = world.queue.popleft()
    assert world.worker.claim(run, steps, lambda ended: None) is not None
    assert vouch(world.engine, "r1", [Launched("0", "1.1")], PLACE) == ["ok"]
    assert _record(world)[0] == "external"


def test_a_worker_whose_launch_takes_long_is_not_told_to_stop(world: World) -> None:
    def submit(document: dict[str, Any]) -> None:
        vouch(world.engine, "r1", [Launched("0", "1.1")], PLACE)
        Leases(world.worker).tick()

    world.executor.submit = submit  # type: ignore[method-assign,assignment]
    plan = Planned()
    plan.add("one")
    world.start("r1", world.plan(plan))
    world.work()
    assert world.executor.cancelled == []
    assert _record(world)[0] == "external"


def test_while_its_executor_speaks_for_it_nobody_asks(world: World, elsewhere: Elsewhere) -> None:
    _due(world)
    assert vouch(world.engine, "r1", [Launched("0", "1.1")], PLACE) == ["ok"]
    _sweep(world)
    assert elsewhere.asked == []


def test_silence_is_asked_after_and_work_that_goes_on_is_left_alone(world: World, elsewhere: Elsewhere) -> None:
    _due(world)
    _sweep(world)
    _sweep(world)
    assert elsewhere.asked == ["one#0"]
    assert _record(world)[0] == "external"


def test_work_that_is_gone_is_started_again(world: World, elsewhere: Elsewhere) -> None:
    elsewhere.answer = _lost()
    _due(world)
    _sweep(world)
    assert _record(world)[:2] == ["sent", "1.2"]
    assert [event["reason"] for event in world.events("r1", "step.retry")] == ["lost"]


def test_a_durable_result_counts_whatever_the_executor_knows(world: World, elsewhere: Elsewhere) -> None:
    elsewhere.answer = _lost()
    _result(world)
    _due(world)
    _sweep(world)
    assert world.states() == {"0": "succeeded"}
    assert elsewhere.asked == []


def test_an_executor_that_cannot_tell_is_asked_again_and_nothing_is_concluded(
    world: World, elsewhere: Elsewhere
) -> None:
    elsewhere.answer = CelestaError("the cluster does not answer")
    _due(world)
    _sweep(world)
    assert _record(world)[:2] == ["external", "1.1"]
    assert world.events("r1", "step.retry") == []


def test_cancelled_work_is_told_so_and_its_end_is_no_failure(world: World, elsewhere: Elsewhere) -> None:
    control(world.engine, "r1", "cancel")
    assert world.finished() is None
    assert vouch(world.engine, "r1", [Launched("0", "1.1")], PLACE) == ["cancelled"]
    complete(world.engine, "r1", ended_elsewhere(world.engine, "r1", [("0", "1.1")]))
    assert world.finished()["status"] == "cancelled"
    assert world.states() == {"0": "cancelled", "1": "cancelled"}


def test_an_end_without_result_is_asked_of_its_executor(world: World, elsewhere: Elsewhere) -> None:
    assert ended_elsewhere(world.engine, "r1", [("0", "1.1")]) == []
    elsewhere.answer = CelestaError("no answer")
    assert ended_elsewhere(world.engine, "r1", [("0", "1.1")]) == []
    elsewhere.answer = _lost()
    assert [ended.state for ended in ended_elsewhere(world.engine, "r1", [("0", "1.1")])] == ["failed"]
    assert elsewhere.asked == ["one#0"] * 3


def test_an_attempt_that_is_no_longer_there_is_asked_of_nobody(world: World, elsewhere: Elsewhere) -> None:
    assert ended_elsewhere(world.engine, "r1", [("0", "1.0"), ("1", "1.1")]) == []
    assert elsewhere.asked == []


def test_one_end_that_cannot_be_told_keeps_no_other(
    world: World, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    _result(world)
    found = external.read

    def read(store: Any, view: Any, node: str, token: str) -> Any:
        if token == "1.0":
            raise StoreError("no answer")
        return found(store, view, node, token)

    monkeypatch.setattr(external, "read", read)
    ended = ended_elsewhere(world.engine, "r1", [("0", "1.0"), ("0", "1.1")])
    assert [one.token for one in ended] == ["1.1"]


def test_a_superseded_attempt_is_told_so(world: World, elsewhere: Elsewhere) -> None:
    complete(world.engine, "r1", [Ended("0", "1.1", _lost())])
    assert vouch(world.engine, "r1", [Launched("0", "1.1")], PLACE) == ["stale"]


def test_a_rebuilt_run_takes_back_what_its_executor_still_knows(world: World, elsewhere: Elsewhere) -> None:
    plan = world.engine.views.of("r1")
    assert plan is not None
    digest = (world.client.hget(keys.meta("r1"), "plan") or b"").decode()
    world.client.flushdb()
    assert vouch(world.engine, "r1", [Launched("0", "1.1")], PLACE) == []
    rebuild(world.engine, world.source("r1", digest, status="running"))
    assert vouch(world.engine, "r1", [Launched("0", "1.1")], PLACE) == ["ok"]
    assert _record(world)[:2] == ["external", "1.1"]
    _result(world)
    assert complete(world.engine, "r1", ended_elsewhere(world.engine, "r1", [("0", "1.1")])) == ["ok"]


def test_the_script_applied_twice_equals_once(world: World, elsewhere: Elsewhere) -> None:
    before = world.dump()
    assert vouch(world.engine, "r1", [Launched("0", "1.1")], PLACE) == ["ok"]
    assert world.dump() == before
    assert vouch(world.engine, "unknown", [Launched("0", "1.1")], PLACE) == []
    assert world.dump() == before


def test_steps_that_are_launched_go_several_to_a_message_once_they_are_known_as_such(world: World) -> None:
    world.executor.submit = lambda document: time.sleep(0.06)  # type: ignore[method-assign]  # long, were it run here
    plan = Planned()
    for _ in range(100):
        plan.add("one")
    world.start("r1", world.plan(plan))
    assert {len(steps) for _, steps in world.queue} == {1}
    world.work()
    world.work()
    assert max(len(steps) for _, steps in world.queue) > 5
