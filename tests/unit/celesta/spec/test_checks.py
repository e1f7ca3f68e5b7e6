"""The one set of checks of a spec: what each mistake is called, that nothing makes it raise, and how it grows."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from celesta.spec import spec_digest, validate
from celesta.spec.steps import find_cycle
from tests.fixtures.growth import growth

D = "ab" * 32
INT, FLOAT, STR = ({"kind": kind} for kind in ("int", "float", "str"))


def value(inline: Any) -> dict[str, Any]:
    return {"value": {"type": "json", "digest": D, "size": 1, "inline": inline}}


def task(name: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name, "kind": "python", "entrypoint": f"flow:{name}", "code_digest": D, "doc": "", "source": "",
        "interface": {
            "inputs": [{"name": n, "type": t, "required": True} for n, t in inputs.items()],
            "outputs": [{"name": n, "type": t} for n, t in outputs.items()],
        },
        "cache": None, "retry": {"max": 0, "backoff_seconds": 1.0, "factor": 2.0}, "timeout_seconds": None,
        "resources": {"cpu": 1.0, "memory_bytes": None, "gpu": 0}, "env": {}, "secrets": [], "executor": None,
        "image": None, "labels": {},
    }  # fmt: skip


def step(path: str, name: str, inputs: dict[str, Any], mapped: Any = None, after: Any = ()) -> dict[str, Any]:
    return {"path": path, "task": name, "inputs": inputs, "map": mapped, "after": list(after), "options": {}}


def out(path: str, output: str = "result") -> dict[str, Any]:
    return {"step": path, "output": output}


@pytest.fixture
def spec() -> dict[str, Any]:
    return {
        "celesta": 1, "name": "flow", "doc": "", "bundle": D, "python": "3.11", "git": None,
        "interface": {
            "inputs": [{"name": "n", "type": INT, "required": True}],
            "outputs": [{"name": "result", "type": FLOAT}],
        },
        "tasks": {
            "load": task("load", {"n": INT}, {"result": {"kind": "list", "items": INT}}),
            "fit": task("fit", {"x": INT, "rate": FLOAT}, {"model": STR, "score": FLOAT}),
            "total": task("total", {"values": {"kind": "list", "items": FLOAT}}, {"result": FLOAT}),
        },
        "steps": [
            step("load", "load", {"n": {"input": "n"}}),
            step("fit", "fit", {"x": out("load"), "rate": value({"f": "0x1.8p+0"})}, ["x"]),
            step("fit#2", "fit", {"x": value(3), "rate": value(1)}),
            step("total", "total", {"values": {"list": [out("fit#2", "score"), value({"f": "inf"})]}}),
            step("inner/total", "total", {"values": out("fit", "score")}, after=["total"]),
        ],
        "outputs": {"result": out("total")},
    }  # fmt: skip


def test_a_good_spec_has_no_problems(spec: dict[str, Any]) -> None:
    assert validate(spec) == []
    assert validate(json.loads(json.dumps(spec))) == []


def put(path: str, new: Any) -> Any:
    """A change at a dotted path; `...` takes it away."""

    def change(spec: Any) -> None:
        *above, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in above:
            spec = spec[part]
        if new is ...:
            del spec[last]
        else:
            spec[last] = new

    return change


@pytest.mark.parametrize(
    ("path", "new", "where", "told"),
    [
        ("celesta", 2, "celesta", "not a version"),
        ("name", "a b/", "name", "no name"),
        ("bundle", "x", "bundle", "SHA-256"),
        ("steps", {}, "steps", "not a list"),
        ("interface.inputs.0.type", {"kind": "integer"}, "interface.inputs.n", "not a type"),
        ("tasks.fit.entrypoint", "fit", "tasks.fit.entrypoint", "module:function"),
        ("tasks.fit.timeout_seconds", 10**12, "tasks.fit.timeout_seconds", "not valid"),
        ("tasks.fit.kind", "spark", "tasks.fit.kind", "'spark' is not known"),
        ("tasks.fit.retry", {"max": True}, "tasks.fit.retry", "not valid"),
        ("tasks.fit.resources.cpu", -1, "tasks.fit.resources", "not valid"),
        ("steps.0.task", "lode", "steps.load.task", "there is no task 'lode'"),
        ("steps.1.path", "load", "steps.load", "two steps of this path"),
        ("steps.1.path", "a[0]", "steps[1]", "no valid path"),
        ("steps.0.inputs.n", ..., "steps.load.inputs.n", "is missing"),
        ("steps.0.inputs.m", value(1), "steps.load.inputs.m", "inputs are: n"),
        ("steps.0.inputs.n", {"input": "m"}, "steps.load.inputs.n", 'the workflow has no input "m"'),
        ("steps.0.inputs.n", {"inputs": "n"}, "steps.load.inputs.n", "not a binding"),
        ("steps.0.inputs.n", value("3"), "steps.load.inputs.n", "int is wanted, str is given"),
        ("steps.0.inputs.n", value(True), "steps.load.inputs.n", "int is wanted, bool is given"),
        ("steps.0.inputs.n", {"value": {"type": "json", "digest": D, "size": 1}}, "steps.load.inputs.n", "neither"),
        ("steps.2.inputs.x", out("loaad"), "steps.fit#2.inputs.x", 'there is no step "loaad"'),
        ("steps.2.inputs.x", out("load", "rows"), "steps.fit#2.inputs.x", "outputs are: result"),
        ("steps.2.inputs.x", out("load"), "steps.fit#2.inputs.x", "int is wanted, list[int] is given by output"),
        ("steps.1.inputs.x", value(3), "steps.fit.inputs.x", "list[int] is wanted, int is given"),
        ("steps.1.map", ["y"], "steps.fit.map", "mapped over and not given"),
        ("steps.1.map", "x", "steps.fit.map", "not a list of input names"),
        ("steps.3.inputs.values", {"list": [out("fit#2", "model")]}, "steps.total.inputs.values[0]", "float is wanted"),
        ("steps.4.after", ["totl"], "steps.inner/total.after", "there is no step 'totl'"),
        ("steps.4.options", {"cpu": 1}, "steps.inner/total.options.cpu", "no such option"),
        ("outputs.result", out("load"), "outputs.result", "float is wanted, list[int] is given"),
        ("outputs.result", ..., "outputs.result", "declared and not bound"),
        ("outputs.more", out("total"), "outputs.more", "not declared"),
    ],
)
def test_each_mistake_is_told_at_its_place(spec: dict[str, Any], path: str, new: Any, where: str, told: str) -> None:
    put(path, new)(spec)
    problems = validate(spec)
    assert [p for p in problems if p.where == where and told in p.message], problems


def test_lists_that_are_mapped_over_together_have_one_length(spec: dict[str, Any]) -> None:
    spec["steps"][1]["map"] = ["x", "rate"]
    spec["steps"][1]["inputs"] = {"x": {"list": [value(1), value(2)]}, "rate": {"list": [value({"f": "0x0p+0"})]}}
    assert "x has 2, rate has 1" in str(validate(spec)[0])


def test_all_problems_are_told_at_once_up_to_a_limit(spec: dict[str, Any]) -> None:
    put("steps.0.task", "lode")(spec)
    put("steps.3.inputs.values", value(1))(spec)
    put("outputs.more", value(1))(spec)
    assert len(validate(spec)) == 3
    spec["steps"] = [step("", "load", {})] * 1000
    assert len(validate(spec)) == 100


def test_a_cycle_is_named(spec: dict[str, Any]) -> None:
    spec["steps"][0]["after"] = ["inner/total"]
    [problem] = validate(spec)
    cycle = problem.message.split(": ")[1].split(" -> ")
    assert cycle[0] == cycle[-1]
    assert set(cycle) == {"load", "fit", "inner/total"}


def test_a_cycle_is_told_in_the_direction_of_the_data() -> None:
    assert find_cycle({"a": ["c"], "b": ["a"], "c": ["b", "x"], "x": [], "after": ["a"]}) in (
        ["a", "b", "c", "a"], ["b", "c", "a", "b"], ["c", "a", "b", "c"],
    )  # fmt: skip
    assert find_cycle({"a": ["a"]}) == ["a", "a"]
    assert find_cycle({"a": [], "b": ["a", "a"]}) == []


def test_the_digest_leaves_out_what_changes_no_result(spec: dict[str, Any]) -> None:
    before = spec_digest(spec)
    assert spec_digest({**spec, "git": {"commit": "1"}, "doc": "more"}) == before
    assert spec_digest(dict(reversed(spec.items()))) == before
    assert spec_digest({**spec, "name": "other"}) != before


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_no_json_makes_validation_raise(data: st.DataObject) -> None:
    spec = _GOOD()
    for _ in range(data.draw(st.integers(1, 3))):
        at: Any = spec
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at))) if isinstance(at, list) else []
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            if not isinstance(at[key], dict | list) or not at[key] or data.draw(st.booleans()):
                at[key] = data.draw(_json)
                break
            at = at[key]
    assert isinstance(validate(spec), list)
    assert isinstance(validate(data.draw(_json)), list)


def _GOOD() -> dict[str, Any]:  # noqa: N802
    return copy.deepcopy(spec.__wrapped__())  # type: ignore[attr-defined, no-any-return]


def test_validating_grows_with_the_steps_and_no_faster(spec: dict[str, Any]) -> None:
    def validating(count: int) -> Callable[[], None]:
        steps = [
            step(f"fit#{i}", "fit", {"x": value(i), "rate": out(f"fit#{i - 1}", "score")}) for i in range(1, count)
        ]
        first = step("fit#0", "fit", {"x": value(0), "rate": value({"f": "0x0p+0"})})
        outputs = {"result": out(f"fit#{count - 1}", "score")}
        big = json.loads(json.dumps({**spec, "steps": [*spec["steps"][:1], first, *steps], "outputs": outputs}))

        def work() -> None:
            assert validate(big)[:1] == []

        return work

    assert growth(validating, 1_000, 10_000) < 4
