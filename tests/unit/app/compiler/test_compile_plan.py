import json
import random

from hypothesis import given
from hypothesis import strategies as st

from app.compiler import compile_plan
from app.compiler.plan import Plan
from app.compiler.schema import load_spec
from celesta.hashing import canonical
from celesta.spec import spec_digest
from tests.fixtures.growth import growth
from tests.unit.app.specs import diamond, output, spec, step, task, value, wide


def _paths(plan, indexes):
    return [plan.steps[index]["path"] for index in indexes]


def test_a_join_is_the_body_of_one_chord_of_its_upstreams():
    plan = Plan(compile_plan(load_spec(diamond())))
    index = plan.paths
    assert _paths(plan, plan.roots) == ["a"]
    assert {body: sorted(header) for body, header in plan.chords.items()} == {
        index["d"]: sorted([index["b"], index["c"]])
    }
    assert sorted(_paths(plan, plan.children[index["a"]])) == ["b", "c"]
    assert plan.need[index["d"]] == 2
    assert plan.need[index["b"]] == 1


def test_bindings_name_steps_by_index_at_any_depth():
    inner = {"dict": {"k": {"list": [output("a"), value(1), {"input": "n"}]}}}
    document = diamond()
    document["steps"][1]["inputs"]["x"] = inner
    plan = compile_plan(document)
    a = Plan(plan).paths["a"]
    assert plan["steps"][1]["inputs"]["x"] == {
        "dict": {"k": {"list": [{"step": a, "output": "result"}, value(1), {"input": "n"}]}}
    }
    assert plan["steps"][1]["parents"] == [a]
    assert plan["outputs"] == {"result": {"step": 0, "output": "result"}}


def test_a_parent_counts_once_however_often_it_is_named():
    steps = [
        step("a", inputs={"x": value(1)}),
        step("b", inputs={"x": output("a"), "y": output("a")}, after=["a"]),
    ]
    plan = compile_plan(load_spec(spec([task("a"), task("b", ("x", "y"))], steps)))
    assert plan["steps"][1]["parents"] == [0]
    assert plan["chords"] == []


def test_after_makes_a_parent_without_a_value():
    steps = [step("a", inputs={"x": value(1)}), step("b", inputs={"x": value(2)}, after=["a"])]
    plan = compile_plan(load_spec(spec([task("a"), task("b")], steps)))
    assert plan["steps"][1]["parents"] == [0]
    assert plan["steps"][0]["children"] == [1]


def test_a_steps_options_override_its_tasks():
    steps = [step("a", inputs={"x": value(1)}, options={"timeout_seconds": 5.0}), step("a#2", inputs={"x": value(1)})]
    plan = compile_plan(load_spec(spec([task("a", timeout_seconds=60.0, env={"A": "1"})], steps)))
    assert [one["timeout_seconds"] for one in plan["steps"]] == [5.0, 60.0]
    assert plan["steps"][0]["env"] == {"A": "1"}


def test_tasks_carry_the_digest_of_their_interface():
    one, other = task("a"), task("b", ("y",))
    plan = compile_plan(spec([one, other], [step("a", inputs={"x": value(1)})]))
    assert plan["tasks"][0]["interface_digest"] != plan["tasks"][1]["interface_digest"]


def test_the_plan_names_its_version():
    document = diamond()
    assert compile_plan(document)["version"] == spec_digest(document)


def test_equal_specs_give_equal_bytes_whatever_the_order_of_their_keys():
    document = diamond()
    shuffled = json.loads(json.dumps(document, sort_keys=True))
    shuffled["tasks"] = dict(reversed(shuffled["tasks"].items()))
    assert canonical(compile_plan(shuffled)) == canonical(compile_plan(document))


def test_compiling_leaves_the_spec_alone():
    document = diamond()
    before = json.dumps(document)
    compile_plan(document)
    assert json.dumps(document) == before


def test_a_plan_comes_back_from_its_bytes():
    document = compile_plan(diamond())
    plan = Plan.from_bytes(canonical(document))
    assert plan.document == document
    assert (plan.workflow, plan.version, len(plan)) == ("flow", document["version"], 4)
    assert plan.path("0") == "d"
    assert plan.path("0.3") == "d[3]"


@st.composite
def dags(draw):
    count = draw(st.integers(1, 12))
    order = draw(st.permutations(range(count)))
    edges = [draw(st.sets(st.integers(0, place - 1), max_size=4)) if place else set() for place in range(count)]
    steps = [
        step(f"t#{place + 1}", "t", inputs={"x": value(place)}, after=[f"t#{one + 1}" for one in sorted(edges[place])])
        for place in order
    ]
    return spec([task("t")], steps)


@given(dags())
def test_every_edge_is_kept_both_ways_and_every_join_is_a_chord(document):
    plan = Plan(compile_plan(load_spec(document)))
    wanted = {(one, step["path"]) for step in document["steps"] for one in step["after"]}
    down = {(plan.path(str(p)), plan.path(str(c))) for p, children in enumerate(plan.children) for c in children}
    up = {(plan.path(str(p)), plan.path(str(c))) for c, parents in enumerate(plan.parents) for p in parents}
    assert down == up == wanted
    assert {index for index, parents in enumerate(plan.parents) if len(parents) > 1} == set(plan.chords)
    assert set(plan.roots) == {index for index, parents in enumerate(plan.parents) if not parents}
    assert all(list(parents) == sorted(parents) for parents in plan.parents)


def test_checking_and_compiling_grows_with_the_steps_and_no_faster():
    def compiling(count):
        document = wide(count)
        random.Random(1).shuffle(document["steps"])
        return lambda: compile_plan(load_spec(document))

    assert growth(compiling, 1_000, 10_000) < 4


def test_what_a_step_wants_of_its_pod_is_in_the_plan_only_where_it_was_given():
    template = {"spec": {"nodeSelector": {"disk": "ssd"}}}
    tasks = [task("a", (), pod_template=template, interruptible=True), task("b", ())]
    document = spec(tasks, [step("a"), step("b"), step("a#2", options={"interruptible": False})])
    first, second, third = compile_plan(load_spec(document))["steps"]
    assert (first["pod_template"], first["interruptible"]) == (template, True)
    assert not {"pod_template", "interruptible"} & second.keys()
    assert (third["pod_template"], third["interruptible"]) == (template, False)
