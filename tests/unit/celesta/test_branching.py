"""`when` in a workflow: what it traces, and what it refuses."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from celesta import task, when, workflow
from celesta.errors import SpecError
from celesta.graph import Step
from celesta.spec import validate, workflow_spec
from celesta.types import spell


class Best(NamedTuple):
    model: str
    score: float


@task
def pick(n: int) -> Best:
    return Best("m", n / 10)


@task
def deploy(model: str) -> str:
    return f"deployed {model}"


@task
def report(model: str) -> str:
    return f"reported {model}"


@task
def numbers(n: int) -> list[int]:
    return list(range(n))


@task
def good(n: int) -> bool:
    return n > 2


@task
def note(text: str) -> None:
    print(text)


@task
def finish() -> int:
    return 1


@workflow
def choose(n: int = 7) -> str:
    best = pick(n=n)
    return when(
        (best.score >= 0.5) & ~(best.model == "bad"),
        then=lambda: deploy(model=best.model),
        otherwise=lambda: report(model=best.model),
    )


def _guards(flow: Any) -> dict[str, Any]:
    return {step.path: step.guard for step in flow.graph().steps}


def test_the_steps_of_a_side_carry_its_guard() -> None:
    guards = {"pick": None, "when": None, "deploy": ("when", True), "report": ("when", False), "when.result": None}
    assert _guards(choose) == guards


def test_a_branch_is_written_with_the_values_it_looks_at() -> None:
    spec, _ = workflow_spec(choose)
    branch = next(step for step in spec["steps"] if "branch" in step)
    assert branch["branch"] == {
        "test": "and",
        "of": [
            {"test": "ge", "of": ["pick.score", "0.5"]},
            {"test": "not", "of": [{"test": "eq", "of": ["pick.model", "'bad'"]}]},
        ],
    }
    assert branch["inputs"]["pick.score"] == {"step": "pick", "output": "score"}
    assert validate(spec) == []


@pytest.mark.parametrize(("n", "said"), [(7, "deployed m"), (2, "reported m")])
def test_a_plain_call_takes_one_side(n: int, said: str) -> None:
    assert choose(n=n) == said


def test_what_when_gives_has_the_type_of_either_side() -> None:
    found: list[Any] = []

    @workflow
    def flow(n: int = 1) -> None:
        found.append(when(good(n=n), then=lambda: numbers(n=n), otherwise=lambda: None))
        found.append(when(good(n=n), then=lambda: 1, otherwise=lambda: "one"))

    flow.graph()
    assert [spell(one._type) for one in found] == ["list[int]", "int | str"]


def test_sides_with_named_outputs_give_them() -> None:
    @workflow
    def flow(n: int = 1) -> str:
        best = when(good(n=n), then=lambda: pick(n=n), otherwise=lambda: pick(n=2))
        return deploy(model=best.model)

    assert validate(workflow_spec(flow)[0]) == []


def test_a_branch_in_a_side_carries_the_outer_guard() -> None:
    @workflow
    def flow(n: int = 1) -> None:
        when(n > 1, then=lambda: when(n > 2, then=lambda: note(text="big")))

    guards = _guards(flow)
    assert guards["when#2"] == guards["when#2.result" if "when#2.result" in guards else "when.result"] == ("when", True)
    assert guards["note"] == ("when#2", True)


def test_a_step_may_come_after_both_sides() -> None:
    @workflow
    def flow(n: int = 1) -> int:
        told = when(n > 1, then=lambda: note(text="big"), otherwise=lambda: note(text="small"))
        return finish.with_options(after=told)()

    steps = {step.path: step for step in flow.graph().steps}
    assert steps["when.result"].after == ["note", "note#2"]
    last = steps["finish"]
    assert isinstance(last, Step)
    assert last.after == ["when.result"]


def test_a_condition_that_is_known_is_no_branch() -> None:
    @workflow
    def flow() -> int:
        return when(True, then=lambda: finish(), otherwise=lambda: finish())

    assert [step.path for step in flow.graph().steps] == ["finish"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (lambda n: when(numbers(n=n), then=lambda: 1), 'a condition is true or false: the output of step "numbers"'),
        (lambda n: when(n, then=lambda: 1), "compare it with something"),
        (lambda n: when(n > "a", then=lambda: 1), "int is never str"),
        (lambda n: when(numbers(n=n) == [1], then=lambda: 1), "cannot be compared so"),
        (lambda n: when(good(n=n) > True, then=lambda: 1), "cannot be compared so"),
        (lambda n: when(n > 1 and n < 3, then=lambda: 1), "nor with and, or, not"),
        (lambda n: when((n > 1) & n, then=lambda: 1), "a condition is true or false"),
        (lambda n: when(3, then=lambda: 1), "a condition is true or false"),
        (lambda n: when(n > 1, then=finish()), "write then=lambda: ..."),
        (lambda n: when(n > 1, then=lambda: pick(n=n), otherwise=lambda: 1), "give different outputs"),
        (lambda n: when(n > 1, then=lambda: 1, name="/"), "is no name"),
        (lambda n: deploy(model=n > 1), "a condition is for when"),
    ],
)
def test_what_cannot_be_decided_is_an_error_at_its_line(body: Callable[[Any], Any], told: str) -> None:
    def flow(n: int = 1) -> None:
        body(n)

    with pytest.raises(SpecError) as caught:
        workflow(flow).graph()
    assert told in str(caught.value)
    assert "test_branching.py:" in str(caught.value)


def test_a_plain_call_wants_a_boolean_too() -> None:
    with pytest.raises(SpecError, match="not a str"):
        when("yes", then=lambda: 1)
