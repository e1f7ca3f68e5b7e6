"""Linking: the steps of registered workflows in the place of those that refer to them."""

from typing import Any

import pytest

from app.compiler import compile_plan
from app.compiler.link import Target, link, references_of
from app.compiler.schema import load_spec
from celesta.errors import SpecError
from tests.unit.app.specs import INT, diamond, output, spec, step, task, value

RECORD = {"project": "team", "workflow": "flow", "version": "d" * 64}


LOSS = step("use", inputs={"x": output("score") | {"output": "loss"}})


def _call(path: str = "score", text: str = "team/flow", **fields: Any) -> dict[str, Any]:
    return {"path": path, "reference": text, "inputs": {"n": output("make")}, "after": []} | fields


def _outer(*calls: dict[str, Any], **fields: Any) -> dict[str, Any]:
    steps = [step("make", inputs={"x": value(1)}), *calls, step("use", inputs={"x": output("score")})]
    return spec([task("make"), task("use")], steps, **fields)


def _target(document: dict[str, Any], label: str = "team/flow@dddddddddddd") -> Target:
    return Target(label, document, RECORD)


def _linked(outer: dict[str, Any], inner: dict[str, Any] | None = None) -> dict[str, Any]:
    load_spec(outer)
    made = link(outer, {"team/flow": _target(inner or diamond(bundle="b" * 64))})
    return load_spec(made)


def _by_path(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["path"]: one for one in document["steps"]}


def test_the_steps_of_the_version_lie_below_the_call_and_bindings_go_straight() -> None:
    steps = _by_path(_linked(_outer(_call())))
    assert set(steps) == {"make", "use", "score/a", "score/b", "score/c", "score/d"}
    assert steps["score/a"]["inputs"]["x"] == output("make")
    assert steps["score/d"]["inputs"] == {"x": output("score/b"), "y": output("score/c"), "z": value(7)}
    assert steps["use"]["inputs"]["x"] == output("score/d")


def test_tasks_keep_their_names_and_bring_their_bundle() -> None:
    linked = _linked(_outer(_call()))
    assert linked["tasks"]["team/flow@dddddddddddd:a"]["name"] == "a"
    assert linked["tasks"]["team/flow@dddddddddddd:a"]["bundle"] == "b" * 64
    assert "bundle" not in linked["tasks"]["make"]
    plan = compile_plan(linked)
    tasks = {plan["steps"][i]["path"]: plan["tasks"][plan["steps"][i]["task"]] for i in range(len(plan["steps"]))}
    assert (tasks["score/a"]["name"], tasks["score/a"]["bundle"]) == ("a", "b" * 64)
    assert linked["references"] == {"team/flow": RECORD}


def test_a_single_task_takes_the_path_of_the_call() -> None:
    interface = {"inputs": [{"name": "n", "type": INT, "required": True}], "outputs": [{"name": "result", "type": INT}]}
    alone = spec(
        [task("flow", ("n",))],
        [step("flow", inputs={"n": {"input": "n"}})],
        interface=interface,
        outputs={"result": output("flow")},
    )
    assert set(_by_path(_linked(_outer(_call()), alone))) == {"make", "use", "score"}


def test_a_linked_version_may_be_linked_again() -> None:
    inner = _linked(_outer(_call()), None) | {"outputs": {}, "interface": {"inputs": [], "outputs": []}}
    outer = spec([task("make")], [step("make", inputs={"x": value(1)}), _call("again", inputs={}, after=["make"])])
    linked = load_spec(link(outer, {"team/flow": _target(inner, "top/flow@eeeeeeeeeeee")}))
    steps = _by_path(linked)
    assert steps["again/score/a"]["task"] == "team/flow@dddddddddddd:a"
    assert steps["again/make"]["task"] == "top/flow@eeeeeeeeeeee:make"
    assert steps["again/make"]["after"] == ["make"]


def test_one_call_may_take_what_another_gives() -> None:
    second = _call("second", inputs={"n": output("score")})
    steps = _by_path(_linked(_outer(_call(), second)))
    assert steps["second/a"]["inputs"]["x"] == output("score/d")


def test_who_comes_after_a_call_comes_after_its_last_steps() -> None:
    outer = _outer(_call(), step("use#2", "use", inputs={"x": value(1)}, after=["score"]))
    assert _by_path(_linked(outer))["use#2"]["after"] == ["score/d"]


def test_a_call_in_a_side_of_a_branch_hands_its_guard_on() -> None:
    guard = {"step": "when", "is": True}
    branch = {"path": "when", "branch": "yes", "inputs": {"yes": value(1)}}
    steps = _by_path(_linked(_outer(branch, _call(guard=guard))))
    assert steps["score/a"]["guard"] == guard
    assert steps["score/d"]["guard"] == guard


@pytest.mark.parametrize(
    ("outer", "told"),
    [
        (_outer(_call(inputs={})), 'steps.score.inputs.n: is missing: "team/flow@dddddddddddd" needs it'),
        (_outer(_call(inputs={"n": value(1), "m": value(1)})), "has no such input; inputs are: n"),
        (_outer(_call(), step("use#2", "use", inputs={"x": output("score") | {"output": "loss"}})), 'no output "loss"'),
    ],
)
def test_what_does_not_fit_is_told(outer: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError) as caught:
        _linked(outer)
    assert told in str(caught.value)


def test_types_are_held_against_each_other_once_linked() -> None:
    inner = diamond(bundle=None)
    inner["tasks"]["a"]["interface"]["inputs"][0]["type"] = {"kind": "str"}
    inner["interface"]["inputs"][0]["type"] = {"kind": "str"}
    with pytest.raises(SpecError, match=r"score/a.inputs.x: str is wanted, int is given by output"):
        _linked(_outer(_call()), inner)


def test_references_are_found_once_each() -> None:
    assert references_of(_outer(_call(), _call("again"))) == {"team/flow": "score"}


@pytest.mark.parametrize("text", ["", "a/b/c", "@3", "team/", "a@b@c", 3, None])
def test_a_reference_is_a_name(text: Any) -> None:
    with pytest.raises(SpecError, match=r"project/name@version"):
        load_spec(_outer(_call(text=text)))
