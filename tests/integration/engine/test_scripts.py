"""The rules of every script: applied twice is applied once, and nothing is written for a run or an epoch unknown."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from celesta.runtime.failures import plain_error
from tests.integration.engine.harness import Planned, World, step, value
from workers.engine import keys, scripts, settling
from workers.engine.advancing import admission
from workers.engine.settling import Ended, Finding
from workers.engine.views import View

Call = tuple[str, dict[str, Any]]
PACE = {"low": 16, "window": 32, "lease": 10_000, "grace": 5_000}
OUTCOME = {"status": "succeeded", "outputs": {"result": value(1)["value"]}, "error": None, "metrics": []}
GOING_ON = {"attempt": 1, "owner": "here:1", "e": '{"kind":"c"'}
ERROR = plain_error("ValueError", "no", "user")


def _ended(view: View, node: str, outcome: dict[str, Any], **more: Any) -> dict[str, Any]:
    return settling.attempt(view, Ended(node, "1.1", outcome, Finding({}), **more))


def _advance(settles: list[dict[str, Any]], **more: Any) -> Call:
    return "advance", {"settle": settles, "admit": [], **PACE, **more}


CASES: dict[str, Callable[[View], Call]] = {
    "claim": lambda v: (
        "claim",
        {"steps": [{"n": "1", "attempt": 1, "e": "{}"[:-1]}], "parents": [], "owner": "w", **PACE},
    ),
    "renew": lambda v: ("renew", {"steps": [["0", "1.1"]], "owner": "here:1", "lease": 10_000}),
    "release": lambda v: ("release", {"steps": [["0", "1.1"]], "owner": "here:1", **PACE}),
    "release, to wait": lambda v: (
        "release",
        {"steps": [["0", "1.1"]], "owner": "here:1", "delay_ms": 60_000, **PACE},
    ),
    "complete": lambda v: _advance([_ended(v, "0", OUTCOME)]),
    "complete, and go on": lambda v: _advance([_ended(v, "0", OUTCOME)], claim={**GOING_ON, "n": "3"}),
    "fail": lambda v: _advance([_ended(v, "0", settling.failure(ERROR))]),
    "fail, to be tried again": lambda v: _advance([_ended(v, "4", settling.failure(ERROR))]),
    "cancel a step": lambda v: _advance([settling.in_place(v, "1", "cancelled")]),
    "settle a waiting root": lambda v: _advance([settling.in_place(v, "5", "cached", outputs={})]),
    "admit a root": lambda v: _advance([], admit=[admission(v, "5")]),
    "park a step": lambda v: _advance(
        [], admit=[{**admission(v, "5"), "park": {"ms": 50, "ends": True, "e": '{"k":1'}}]
    ),
    "open a map": lambda v: _advance(
        [], open={"n": "6", "need": {"node": "6", "parents": 0}, "width": 3, "e": '{"k":1'}
    ),
    "share": lambda v: ("share", {"share": 0.5}),
    "control": lambda v: ("control", {"control": "cancel", "lease": 10_000}),
    "bump": lambda v: ("bump", {"steps": [["0", "running", 60_000, False]]}),
    "promote": lambda v: ("promote", {"steps": ["4"], "lease": 10_000, "at_once": ["backoff"]}),
    "resend": lambda v: ("resend", {"steps": ["1"], "empty": True, "grace": 5_000}),
    "finish": lambda v: ("finish", {"finished": '{"kind":"run.finished"'}),
}


@pytest.fixture
def view(world: World) -> View:
    """A run with a running step (0), a sent one (1), children (2, 3), one with a retry (4), roots to come (5, 6)."""
    plan = Planned()
    first, second = plan.add("one"), plan.add("one")
    plan.add("add", a=step(first), b=step(second))
    plan.add("double", x=step(first))
    plan.add("fail", retries=1)
    plan.add("one", cache=True)
    plan.add("double", map_over=["x"], x=value([1, 2, 3]))
    digest = world.plan(plan)
    facts = {
        "project": "p",
        "plan": digest,
        "inputs": "{}",
        "options": "{}",
        "started": '{"kind":"s"',
        "control": "run",
    }
    arguments = {"epoch": 1, "known": 7, "rebuilt": 0, "lease": 10_000, **facts}
    assert world.engine.call("load", "r1", **arguments)["status"] == "ok"
    found = world.engine.views.of("r1")
    assert found is not None
    _call(world, _advance([], admit=[admission(found, node) for node in ("0", "1", "4")]))
    claim = [{"n": node, "attempt": 1, "e": '{"kind":"c"'} for node in ("0", "4")]
    _call(world, ("claim", {"steps": claim, "parents": [], "owner": "here:1", **PACE}))
    return found


def _call(world: World, call: Call, run: str = "r1", epoch: int = 1) -> dict[str, Any]:
    name, arguments = call
    return scripts.call_with_outcomes(world.client, name, run, epoch=epoch, **arguments)[0]


@pytest.mark.parametrize("case", CASES)
def test_applied_twice_is_applied_once(world: World, view: View, case: str) -> None:
    call = CASES[case](view)
    assert _call(world, call)["status"] == "ok"
    after = world.dump()
    assert _call(world, call)["status"] == "ok"
    assert world.dump() == after


@pytest.mark.parametrize("case", CASES)
def test_an_unknown_run_is_not_written(world: World, view: View, case: str) -> None:
    before = world.dump()
    assert _call(world, CASES[case](view), run="r9")["status"] == "norun"
    assert world.dump() == before


@pytest.mark.parametrize("case", CASES)
def test_another_epoch_is_not_written(world: World, view: View, case: str) -> None:
    before = world.dump()
    assert _call(world, CASES[case](view), epoch=2)["status"] == "stale"
    assert world.dump() == before


def test_who_goes_on_claims_the_step_and_no_other(world: World, view: View) -> None:
    reply = _call(world, _advance([_ended(view, "0", OUTCOME)], claim={**GOING_ON, "n": "3"}))
    assert (reply["claimed"], reply["send"]) == ("1.1", {})
    assert world.client.hget(keys.states("r1"), "3").decode().startswith("running|1.1|")
    assert world.client.hget(keys.meta("r1"), "sent") == b"1", "the other one that waits in the queue"
    reply = _call(world, _advance([_ended(view, "4", OUTCOME)], claim={**GOING_ON, "n": "1"}))
    assert "claimed" not in reply, "it was sent to somebody else"


def test_a_run_is_loaded_once(world: World, view: View) -> None:
    before = world.dump()
    facts = {"project": "q", "plan": "x", "inputs": "{}", "options": "{}", "started": '{"kind":"s"', "control": "run"}
    reply = world.engine.call("load", "r1", epoch=5, known=9, rebuilt=0, lease=1, **facts)
    assert (reply["status"], reply["epoch"]) == ("exists", 1)
    assert world.dump() == before


def test_bad_arguments_are_refused_before_anything_is_written(world: World, view: View) -> None:
    before = world.dump()
    good = _ended(view, "0", OUTCOME)
    with pytest.raises(ValueError, match="refused its arguments"):
        _call(world, _advance([good, {**good, "n": 4}]))
    with pytest.raises(ValueError, match="refused its arguments"):
        _call(world, _advance([good, {**good, "s": "finished"}]))
    with pytest.raises(ValueError, match="refused its arguments"):
        _call(world, _advance([good], claim={**GOING_ON, "n": 3}))
    with pytest.raises(ValueError, match="refused its arguments"):
        _call(world, ("claim", {"steps": [{"n": "1", "attempt": "1", "e": "{"}], "parents": [], **PACE}))
    assert world.dump() == before


def test_a_script_that_redis_forgot_is_sent_again(world: World, view: View) -> None:
    world.client.script_flush()
    assert _call(world, CASES["renew"](view))["status"] == "ok"


def test_every_event_is_one_json_document(world: World, view: View) -> None:
    for _, fields in world.client.xrange(keys.EVENTS):
        event = json.loads(fields[b"e"])
        assert event["epoch"] == 1
        assert event["at_ms"] > 1_700_000_000_000
