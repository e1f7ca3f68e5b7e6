"""`reference` in a workflow: what it traces, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest

from celesta import reference, task, when, workflow
from celesta.errors import SpecError
from celesta.spec import validate, workflow_spec
from celesta.workflows import Workflow
from tests.unit.celesta.local.flow import Flow

score = reference("team/score@v2")


@task
def make(n: int) -> int:
    return n


@workflow
def outer(n: int = 3) -> float:
    best = score(model=make(n=n), folds=5)
    return when(best.accuracy > 0.5, then=lambda: best.accuracy, otherwise=lambda: score(model=n).accuracy)


def _steps(flow: Workflow[Any, Any]) -> dict[str, Any]:
    spec, _ = workflow_spec(flow)
    assert validate(spec) == []
    return {step["path"]: step for step in spec["steps"]}


def test_a_call_of_a_reference_is_a_step_that_names_it() -> None:
    steps = _steps(outer)
    assert steps["score"]["reference"] == "team/score@v2"
    assert steps["score"]["inputs"]["model"] == {"step": "make", "output": "result"}
    assert steps["score"]["inputs"]["folds"]["value"]["inline"] == 5
    assert steps["when"]["inputs"]["score.accuracy"] == {"step": "score", "output": "accuracy"}
    assert steps["score#2"]["guard"] == {"step": "when", "is": False}


def test_options_name_the_step_and_what_it_comes_after() -> None:
    @workflow
    def flow(n: int = 1) -> None:
        made = make(n=n)
        score.with_options(name="judge", after=made)(model=1)

    assert _steps(flow)["judge"]["after"] == ["make"]


@pytest.mark.parametrize("name", ["", "a/b/c", "@v2", "team/", "a@", 3])
def test_a_reference_is_a_name(name: Any) -> None:
    with pytest.raises(SpecError, match='write "name", "project/name" or "project/name@version"'):
        reference(name)


def test_it_cannot_be_called_without_a_server() -> None:
    with pytest.raises(SpecError, match="is registered on a server"):
        score(model=1)


def test_a_local_run_refuses_it_before_anything_runs(tmp_path: Path) -> None:
    flow = Flow(tmp_path)
    flow.steps.append({"path": "score", "reference": "team/score", "inputs": {}, "after": []})
    with pytest.raises(SpecError, match="a local run knows no registered workflows"):
        flow.run()


def test_its_inputs_have_names_and_it_is_not_mapped() -> None:
    with pytest.raises(SpecError, match="given by name"):
        workflow(by_position).graph()
    with pytest.raises(SpecError, match="cannot be mapped"):
        score.map(model=[1])


def by_position() -> None:
    score(1)
