"""What flows between steps is told by the plan: exact where equal values would make digests guess."""

from __future__ import annotations

from app.compiler import compile_plan
from app.compiler.plan import Plan
from app.services.step_flow import Flow, Use
from tests.unit.app.specs import diamond, output, spec, step, task, value


def flow_of(document: dict) -> Flow:
    return Flow(Plan(compile_plan(document)))


def test_each_input_names_the_step_and_output_that_it_was_taken_from() -> None:
    flow = flow_of(diamond())
    assert flow.taken("0") == [Use("x", "1", "result"), Use("y", "2", "result")]
    assert flow.taken("3") == []
    assert flow.given("3") == [("x", "n")]
    assert [use for use, _ in flow.takers("3")] == [Use("x", "1", "result"), Use("x", "2", "result")]
    assert list(flow.takers("3", "other")) == []


def test_bindings_inside_lists_and_dicts_are_found() -> None:
    nested = {"dict": {"a": {"list": [output("a"), value(1)]}, "b": output("b")}}
    flow = flow_of(
        spec(
            [task("a"), task("b"), task("c")],
            [step("a", inputs={"x": value(1)}), step("b", inputs={"x": value(2)}), step("c", inputs={"x": nested})],
        )
    )
    assert [use.node for use in flow.taken("2")] == ["0", "1"]


def test_an_item_of_a_map_takes_its_element_of_another_map_and_the_whole_of_what_is_not_mapped() -> None:
    listed = {"kind": "list", "items": {"kind": "int"}}
    tasks = [task("a"), task("b"), task("c", ("x", "y"))]
    tasks[0]["interface"]["outputs"][0]["type"] = listed
    tasks[2]["interface"]["inputs"][1]["type"] = {"kind": "any"}
    steps = [
        step("a", inputs={"x": value(1)}),
        step("b", inputs={"x": output("a")}, map=["x"]),
        step("c", inputs={"x": output("b"), "y": output("b")}, map=["x"]),
    ]
    flow = flow_of(spec(tasks, steps))
    assert flow.taken("2.5") == [Use("x", "1.5", "result"), Use("y", "1", "result")]
    assert flow.taken("1.5") == [Use("x", "0", "result")]
    assert flow.taken("1") == []
    assert list(flow.takers("1.5")) == [(Use("x", "2.5", "result"), False)]
    assert list(flow.takers("0")) == [(Use("x", "1", "result"), True)]


def test_a_node_of_another_plan_is_not_taken_for_one_of_this() -> None:
    flow = flow_of(diamond())
    assert not any(flow.knows(node) for node in ("9", "3/1", "x", ""))
    assert flow.given("3/1") == []
    assert flow.code_digest("9") is None
