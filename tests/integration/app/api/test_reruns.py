"""Recover, rerun, pause and resume through the REST interface: previews, new runs, and what is refused."""

from typing import Any

import pytest

from app.api.reruns import Preview
from app.services import run_source
from tests.fixtures.playground import Playground
from tests.unit.app.specs import INT, output, spec, step, task, value

PATHS = {"3": "a", "1": "b", "2": "c", "0": "d"}


@pytest.fixture
def succeeded(flow: Playground) -> str:
    run = flow.launch(inputs={"n": 3})
    flow.start(run)
    for node, path in PATHS.items():
        flow.settle(run, node, path, outputs={"result": 5})
    flow.finish(run, succeeded=4)
    return run


def wills(document: dict[str, Any]) -> dict[str, str]:
    assert Preview().validate(document) == {}
    return {step["path"]: step["will"] for step in document["steps"]}


def test_a_recovery_is_previewed_and_makes_nothing_by_that(flow: Playground, failed: str) -> None:
    answer = flow.call("POST", f"runs/{failed}/recover", {"dry_run": True})
    assert answer.status == 200
    assert wills(answer.json) == {"a": "reuse", "b": "reuse", "c": "run", "d": "run"}
    assert (answer.json["run"], answer.json["reuse"]) == (2, 2)
    assert {step["path"]: step["why"] for step in answer.json["steps"]}["d"] == "it was upstream failed"
    assert len(flow.get("runs")["items"]) == 1


def test_a_recovery_is_a_run_of_its_own_that_tells_its_origin(flow: Playground, failed: str) -> None:
    made = flow.call("POST", f"runs/{failed}/recover", {"idempotency_key": "k"})
    assert made.status == 201
    assert made.json["origin"] == {"run_id": failed, "kind": "recover"}
    assert made.json["inputs"] == {"n": 3}
    assert flow.call("POST", f"runs/{failed}/recover", {"idempotency_key": "k"}).json["run_id"] == made.json["run_id"]
    with flow.app.app_context():
        assert run_source.load_run(made.json["run_id"]).origin == failed
        kept = {path: step for _, path, step in run_source.reusable_steps(failed)}
    assert set(kept) == {"a", "b"}
    assert kept["a"].source == {"run": failed, "path": "a", "node": "3", "token": "1.1"}
    assert (kept["a"].state, kept["a"].outcome["input_digests"]) == ("cached", {"x": flow.encode(3)["digest"]})


def test_what_goes_on_cannot_be_run_again_yet(flow: Playground) -> None:
    run = flow.launch(inputs={"n": 3})
    for verb in ("recover", "rerun"):
        answer = flow.call("POST", f"runs/{run}/{verb}", {})
        assert (answer.status, answer.json["code"]) == (409, "conflict")
        assert "wait for its end" in answer.json["message"]


def test_what_succeeded_needs_no_recovery(flow: Playground, succeeded: str) -> None:
    answer = flow.call("POST", f"runs/{succeeded}/recover", {})
    assert answer.status == 409
    assert f"celesta runs rerun {succeeded}" in answer.json["message"]


@pytest.mark.parametrize(
    ("asked", "will_run"),
    [
        ({}, {"a", "b", "c", "d"}),
        ({"from": ["b"]}, {"b", "d"}),
        ({"from": ["b", "c"]}, {"b", "c", "d"}),
        ({"inputs": {"n": 4}}, {"a", "b", "c", "d"}),
    ],
)
def test_a_rerun_runs_what_is_asked_and_all_below_it(
    flow: Playground, succeeded: str, asked: dict[str, Any], will_run: set[str]
) -> None:
    answer = flow.call("POST", f"runs/{succeeded}/rerun", asked | {"dry_run": True})
    assert answer.status == 200, answer.text
    assert {path for path, will in wills(answer.json).items() if will == "run"} == will_run
    made = flow.call("POST", f"runs/{succeeded}/rerun", asked)
    assert made.status == 201
    assert made.json["origin"]["kind"] == "rerun"
    assert made.json["inputs"] == {"n": 3} | asked.get("inputs", {})
    with flow.app.app_context():
        assert (run_source.load_run(made.json["run_id"]).origin is None) is (asked == {})


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"from": ["e"]}, "its steps are: d, b, c, a"),
        ({"from": ["a[3]"]}, 'did you mean "a"?'),
        ({"from": ["a/b"]}, 'did you mean "a"?'),
        ({"inputs": {"m": 1}}, "is no input of this workflow"),
        ({"inputs": {"n": "x"}}, "n"),
        ({"inputs": {"n": 3}}, "is what the run had already"),
        ({"inputs": {"m": 1}, "from": ["e"]}, "there is no step"),
    ],
)
def test_a_rerun_of_what_is_not_there_is_told_what_is(
    flow: Playground, succeeded: str, asked: dict[str, Any], told: str
) -> None:
    for more in ({}, {"dry_run": True}):
        answer = flow.call("POST", f"runs/{succeeded}/rerun", asked | more)
        assert answer.status == 422
        assert told in answer.json["message"]
    assert len(flow.get("runs")["items"]) == 1


@pytest.fixture
def branched(playground: Playground) -> tuple[Playground, str]:
    """root > 0 chose `then`, and so `other`, with `far` after it, was skipped; `all` takes what came of it."""
    test = {"path": "when", "branch": {"test": "gt", "of": ["a", "b"]}, "inputs": {"a": output("root"), "b": value(0)}}
    port = {"name": "result", "type": INT}
    sides = {"then.result": output("then"), "otherwise.result": output("far")}
    otherwise = {"step": "when", "is": False}
    steps = [
        step("root", "one", inputs={"x": value(1)}),
        test,
        step("then", "one", inputs={"x": value(1)}, guard={"step": "when", "is": True}),
        step("side", "one", inputs={"x": value(1)}),
        step("other", "one", inputs={"x": output("side")}, guard=otherwise),
        step("far", "one", inputs={"x": output("other")}, guard=otherwise),
        {"path": "when.result", "merge": "when", "inputs": sides, "outputs": [port]},
        step("all", "one", inputs={"x": output("when.result")}),
    ]
    playground.register(spec([task("one")], steps))
    run = playground.launch()
    playground.start(run)
    for node, path in enumerate(playground.plans["flow"]):
        state = "skipped" if path in ("other", "far") else "succeeded"
        playground.settle(run, str(node), path, state, outputs={"result": True})
    playground.finish(run, succeeded=4, skipped=2)
    return playground, run


@pytest.mark.parametrize(
    ("asked", "will_run", "exact"),
    [
        (["all"], {"all"}, True),
        (["when.result"], {"all"}, True),
        (["side"], {"side", "all"}, True),
        (["root"], {"root", "then", "other", "far", "all"}, False),
    ],
)
def test_the_side_that_was_not_taken_is_skipped_again_unless_its_branch_is_decided_anew(
    branched: tuple[Playground, str], asked: list[str], will_run: set[str], exact: bool
) -> None:
    flow, run = branched
    told = flow.call("POST", f"runs/{run}/rerun", {"from": asked, "dry_run": True}).json
    will = wills(told)
    assert {path for path, one in will.items() if one == "run"} == will_run
    assert {path for path, one in will.items() if one == "skip"} == {"other", "far"} - will_run
    assert (told["run"], told["reuse"], told["exact"]) == (
        len(will_run),
        6 - len({*will_run} | {"other", "far"}),
        exact,
    )


def test_what_succeeded_below_a_dynamic_step_that_failed_is_counted_as_a_most(playground: Playground) -> None:
    """`dyn` called `led`, a map of three items, a `deep` dynamic step which succeeded, and `total`."""
    playground.register(spec([task("dyn", kind="dynamic")], [step("dyn", inputs={"x": value(1)})]))
    run = playground.launch()
    playground.start(run)
    error = {"type": "ValueError", "message": "no", "kind": "user", "traceback": ""}
    opened = {"token": "1.1", "attempt": 1, "known": 9, "plan": playground.store.put_blob(b"{}")}
    playground.tell(run, "dynamic.opened", node="0", path="dyn", width=4, **opened)
    playground.tell(run, "map.opened", node="0/1", path="dyn/gate", task="gate", width=3, known=9)
    playground.tell(run, "dynamic.opened", node="0/2", path="dyn/deep", task="deep", width=1, **opened)
    good = {"0/0": "led", "0/1.0": "gate[0]", "0/1.2": "gate[2]", "0/2/0": "deep/in", "0/2": "deep"}
    for node, path in good.items():
        playground.settle(run, node, f"dyn/{path}", task=path, outputs={"result": 1})
    for node, path in {"0/1.1": "dyn/gate[1]", "0/1": "dyn/gate", "0": "dyn"}.items():
        playground.settle(run, node, path, "failed", task="gate", error=error)
    playground.settle(run, "0/3", "dyn/total", "upstream_failed", task="total")
    playground.finish(run, "failed", {"path": "dyn/gate[1]"} | error, succeeded=4, failed=2, skipped=1)
    told = playground.call("POST", f"runs/{run}/recover", {"dry_run": True}).json
    assert wills(told) == {"dyn": "run"}
    assert (told["run"], told["reuse"], told["exact"]) == (3, 4, False)
    told = playground.call("POST", f"runs/{run}/rerun", {"from": ["dyn"], "dry_run": True}).json
    assert (told["run"], told["reuse"], told["exact"]) == (8, 0, False)


@pytest.fixture
def nested(playground: Playground) -> str:
    """A run that succeeded: a step `sum`, a workflow `sub` of two steps, a map `each`, a dynamic step `dyn`."""
    steps = [
        step("sum", "one"),
        step("sub/led", "one"),
        step("sub/gate", "one", inputs={"x": output("sub/led")}),
        step("each", "one", inputs={"x": {"input": "xs"}}, map=["x"]),
        step("dyn"),
    ]
    interface = {"inputs": [{"name": "xs", "type": {"kind": "list", "items": INT}, "required": True}], "outputs": []}
    tasks = [task("one"), task("dyn", kind="dynamic")]
    filled = [one | {"inputs": one["inputs"] or {"x": value(1)}} for one in steps]
    playground.register(spec(tasks, filled, interface=interface))
    run = playground.launch(inputs={"xs": [1, 2]})
    playground.start(run)
    playground.finish(run, succeeded=5)
    return run


def test_a_workflow_inside_stands_for_all_of_its_steps(playground: Playground, nested: str) -> None:
    made = playground.call("POST", f"runs/{nested}/rerun", {"from": ["sub"]})
    assert made.json["options"]["again"] == ["sub/gate", "sub/led"]


@pytest.mark.parametrize(
    ("path", "whole"), [("each[1]", "each"), ("dyn/gate", "dyn"), ("dyn/gate[1]", "dyn"), ("dyn/two/gate[1]", "dyn")]
)
def test_what_lies_below_a_step_runs_with_the_whole_of_it(
    playground: Playground, nested: str, path: str, whole: str
) -> None:
    answer = playground.call("POST", f"runs/{nested}/rerun", {"from": [path]})
    assert answer.status == 422
    assert f'it lies below "{whole}", which runs as a whole: run from {whole}' in answer.json["message"]


OPTIONS = {"no_cache": ["b"], "refresh": False, "priority": 3, "max_parallel": 2}


@pytest.mark.parametrize(
    ("verb", "asked", "differ"),
    [
        ("rerun", {}, {}),
        ("rerun", {"from": ["b"]}, {"again": ["b"], "changed": []}),
        ("rerun", {"options": {"priority": 0}}, {"priority": 0}),
        ("rerun", {"options": {"refresh": True}}, {"no_cache": None, "refresh": True}),
        ("reproduce", {}, {"no_cache": True, "refresh": None}),
        ("recover", {"options": {"max_parallel": 5}}, {"max_parallel": 5, "again": []}),
    ],
)
def test_a_run_again_has_the_options_of_the_earlier_run_but_for_those_given(
    flow: Playground, verb: str, asked: dict[str, Any], differ: dict[str, Any]
) -> None:
    run = flow.launch(inputs={"n": 3}, options=OPTIONS)
    flow.start(run)
    flow.finish(run, "failed" if verb == "recover" else "succeeded", None)
    made = flow.call("POST", f"runs/{run}/{verb}", asked)
    assert made.status == 201, made.text
    assert made.json["options"] == {name: v for name, v in (OPTIONS | differ).items() if v is not None}


def test_a_wrong_option_of_a_run_again_is_refused_before_its_preview(flow: Playground, failed: str) -> None:
    for verb in ("recover", "rerun"):
        asked = {"priority": 99, "max_parallel": 0}
        answer = flow.call("POST", f"runs/{failed}/{verb}", {"options": asked, "dry_run": True})
        assert answer.status == 422
        assert all(f"options.{name}" in answer.json["message"] for name in asked)


def test_a_run_is_paused_and_goes_on(flow: Playground) -> None:
    run = flow.launch(inputs={"n": 3})
    paused = flow.call("POST", f"runs/{run}/pause")
    assert (paused.status, paused.json["paused_at"] is None) == (202, False)
    assert flow.call("POST", f"runs/{run}/pause").json["paused_at"] == paused.json["paused_at"]
    with flow.app.app_context():
        assert run_source.control_of(run) == "pause"
    assert flow.call("POST", f"runs/{run}/resume").json["paused_at"] is None
    with flow.app.app_context():
        assert run_source.control_of(run) == "run"


def test_what_has_ended_or_is_cancelled_is_not_paused(flow: Playground, succeeded: str) -> None:
    answer = flow.call("POST", f"runs/{succeeded}/pause")
    assert (answer.status, "has succeeded already" in answer.json["message"]) == (409, True)
    run = flow.launch(inputs={"n": 3})
    flow.call("POST", f"runs/{run}/cancel")
    for verb in ("pause", "resume"):
        assert flow.call("POST", f"runs/{run}/{verb}").status == 409
    flow.start(run)
    flow.finish(run, "cancelled", cancelled=4)
    assert "was cancelled already" in flow.call("POST", f"runs/{run}/pause").json["message"]
