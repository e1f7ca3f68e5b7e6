import copy

import pytest

from app.compiler.schema import load_spec
from celesta.errors import SpecError
from tests.unit.app.specs import diamond


def _problems(document):
    with pytest.raises(SpecError) as caught:
        load_spec(document)
    return {problem.where: problem.message for problem in caught.value.problems}


def test_a_good_spec_comes_through_as_it_is():
    document = diamond()
    assert load_spec(copy.deepcopy(document)) == document


@pytest.mark.parametrize("document", [None, [], "spec", 3])
def test_what_is_no_object_is_refused(document):
    assert _problems(document) == {"": "a spec is an object"}


def test_an_unknown_field_is_refused_wherever_it_stands():
    assert "colour" in _problems(diamond(colour="red"))
    document = diamond()
    document["tasks"]["a"]["retires"] = 3
    assert "tasks.a.retires" in _problems(document)
    document = diamond()
    document["steps"][2]["maps"] = ["x"]
    assert "steps.2.maps" in _problems(document)


def test_a_missing_field_is_named():
    document = diamond()
    del document["steps"]
    del document["tasks"]["b"]["retry"]
    assert {"steps", "tasks.b.retry"} <= set(_problems(document))


def test_a_workflow_without_steps_is_refused():
    assert "steps" in _problems(diamond() | {"steps": []})


def test_what_the_pure_checks_find_is_refused():
    document = diamond()
    document["steps"][3]["inputs"]["x"] = {"step": "d", "output": "result"}
    assert "cycle" in _problems(document)["steps"]


def test_all_problems_come_at_once():
    document = diamond()
    document["steps"][1]["inputs"] = {}
    document["steps"][2]["inputs"]["q"] = {"input": "n"}
    assert {"steps.b.inputs.x", "steps.c.inputs.q"} <= set(_problems(document))
