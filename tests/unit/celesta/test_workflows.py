"""Tracing: what becomes a step under which path, and which mistakes are told at the user's line."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from celesta.errors import LoadError, SpecError
from celesta.graph import current_trace, unmapped
from celesta.promises import Promise
from celesta.tasks import task
from celesta.workflows import Workflow, graph_of, workflow
from tests.fixtures.growth import growth


class Fit(NamedTuple):
    model: str
    score: float


@dataclass
class Summary:
    best: str
    scores: list[float]


@task
def load(n: int = 3) -> list[int]:
    """Numbers below n."""
    return list(range(n))


@task(cache=True)
def fit(data: list[int], rate: float = 0.5) -> Fit:
    return Fit(f"m{len(data)}", rate)


@task
def total(values: list[float]) -> float:
    return sum(values)


@task
def say(text: str) -> None:
    assert text


@task
async def later(n: int) -> int:
    await asyncio.sleep(0)
    return n + 1


def traced(function: Callable[..., Any]) -> Any:
    return Workflow(function, function.__name__).graph()


def error_of(function: Callable[..., Any]) -> str:
    with pytest.raises(SpecError) as caught:
        traced(function)
    return str(caught.value)


def test_a_traced_workflow_is_its_steps_in_call_order() -> None:
    @workflow
    def search(n: int = 4, rates: list[float] = [0.1, 0.2]) -> float:  # noqa: B006
        """Find the best."""
        fits = fit.map(data=unmapped(load(n=n)), rate=rates)
        return total(fits.score)

    graph = search.graph()
    assert (graph.name, graph.doc) == ("search", "Find the best.")
    assert [step.path for step in graph.steps] == ["load", "fit", "total"]
    assert [step.mapped for step in graph.steps] == [None, ["rate"], None]
    assert repr(graph.outputs["result"]) == '<the output of step "total": float>'
    assert repr(graph.steps[2].inputs["values"]) == '<the output "score" of step "fit": list[float]>'
    assert current_trace() is None


def test_paths_are_the_task_name_then_numbered_then_what_was_asked_for() -> None:
    def flow() -> None:
        load()
        load()
        load.with_options(name="first")()
        load()
        for i in range(2):
            load.with_options(name=f"shard-{i}")()

    assert [step.path for step in traced(flow).steps] == ["load", "load#2", "first", "load#3", "shard-0", "shard-1"]


def test_a_name_given_twice_is_refused_at_the_line() -> None:
    def flow() -> None:
        load.with_options(name="a")()
        load.with_options(name="a")()

    assert re.search(r"test_workflows\.py:\d+: there is a step \"a\" already", error_of(flow))


def test_defaults_and_positions_are_bound_by_name() -> None:
    def flow() -> Fit:
        return fit([1, 2])

    [step] = traced(flow).steps
    assert step.inputs == {"data": [1, 2], "rate": 0.5}


def test_inputs_may_be_lists_and_dicts_that_hold_outputs() -> None:
    def flow() -> float:
        scores = [fit(load(n=i)).score for i in range(3)]
        return total([*scores, 1.0])

    graph = traced(flow)
    assert len(graph.steps) == 7
    assert isinstance(graph.steps[-1].inputs["values"][0], Promise)


def test_named_outputs_are_fields_and_unpack() -> None:
    def flow(data: list[int]) -> Summary:
        model, score = fit(data)
        return Summary(best=model, scores=[score, 1.0])

    assert list(traced(flow).outputs) == ["best", "scores"]

    def whole(data: list[int]) -> Fit:
        return fit(data)

    assert list(traced(whole).outputs) == ["model", "score"]


def test_a_workflow_inside_another_puts_its_steps_under_its_name() -> None:
    @workflow
    def inner(rate: float) -> Fit:
        return fit(load(), rate)

    def outer(rate: float) -> float:
        scores = [inner(rate).score, inner(0.2).score, inner.with_options(name="last")(0.3).score]
        return total(scores)

    assert [step.path for step in traced(outer).steps] == [
        "inner/load", "inner/fit", "inner#2/load", "inner#2/fit", "last/load", "last/fit", "total",
    ]  # fmt: skip


def test_after_orders_steps_without_passing_values() -> None:
    def flow() -> None:
        first = say("a")
        data = load()
        say.with_options(after=[first, data, first])("b")
        say.with_options(after=data)("c")

    assert [step.after for step in traced(flow).steps] == [[], [], ["say", "load"], ["load"]]


def test_a_map_over_an_input_a_list_or_an_output_gives_lists() -> None:
    def flow(rates: list[float]) -> float:
        over_input = fit.map(unmapped([1]), rate=rates)
        over_list = fit.map([[1], [2, 3]], rate=[0.1, 0.2])
        over_output = later.map(n=load())
        assert over_output._type == {"kind": "list", "items": {"kind": "int"}}
        return total(over_list.score if over_input else [])

    assert [step.mapped for step in traced(flow).steps] == [["rate"], ["data", "rate"], None, ["n"], None]


def test_a_single_task_is_a_workflow_of_one_step() -> None:
    graph = graph_of(fit)
    assert (graph.name, [step.path for step in graph.steps], list(graph.outputs)) == (
        "fit",
        ["fit"],
        ["model", "score"],
    )
    with pytest.raises(SpecError, match="neither a workflow nor a task"):
        graph_of(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("misuse", "told"),
    [
        (lambda p: 1 if p else 2, "used in an `if`; write when(condition"),
        (lambda p: p == 3, "list[int] cannot be compared so; compare inside a task that returns a bool"),
        (lambda p: 1 if p == [3] else 2, "cannot be compared so"),
        (lambda p: 3 in p, "used in an `if`"),
        (lambda p: list(p), "iterated over or unpacked; map a task over it"),
        (lambda p: range(len(p)), "iterated over"),
        (lambda p: p[0], "indexed; pick the item inside a task"),
        (lambda p: p + 1, "used in arithmetic; compute inside a task"),
        (lambda p: 1 - p, "used in arithmetic"),
        (lambda p: f"{p}", "turned into text"),
        (lambda p: int(p), "turned into text or a number"),
        (lambda p: p(), "called"),
        (lambda p: p.score, '".score" of the output of step "load"'),
    ],
)
def test_a_value_to_come_cannot_be_used_as_a_value(misuse: Callable[[Any], Any], told: str) -> None:
    def flow() -> None:
        misuse(load())

    message = error_of(flow)
    assert told in message
    assert re.match(r"tests/unit/celesta/test_workflows\.py:\d+: ", message)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: fit(), "data: is missing"),
        (lambda: fit([1], rat=0.1), "rat: there is no such input; inputs are: data, rate"),
        (lambda: fit([1], 0.1, 3), "3 positional arguments are given"),
        (lambda: fit([1], data=[2]), "data: is given twice"),
        (lambda: fit([1], "fast"), "rate: expected float, got 'fast' (str)"),
        (lambda: fit(["a"]), "data[0]: expected int"),
        (lambda: total(load(3)), None),
        (lambda: later(load()), 'n: int is wanted, list[int] is given by the output of step "load"'),
        (lambda: total(fit([1])), "its outputs are .model, .score"),
        (lambda: total(fit([1]).scores), 'step "fit" has no output "scores"'),
        (lambda: load(say("x")), "it returns nothing"),
        (lambda: total([fit([1]).model]), "values[0]: float is wanted, str is given"),
        (lambda: total((fit([1]).score,)), "a tuple cannot hold outputs of steps"),
        (lambda: fit.map([[1], [2]], rate=[0.1]), "data has 2, rate has 1"),
        (lambda: fit.map(unmapped([1]), rate=unmapped(0.1)), "nothing is mapped over"),
        (lambda: fit.map(data=unmapped([1]), rate=0.1), "rate: a value of type float cannot be mapped over"),
        (lambda: fit.map(data=unmapped([1]), rate={0.1, 0.2}), "rate: a value of type set cannot be mapped over"),
        (lambda: later.map(n=later(1)), "n: list[int] is wanted, int is given"),
        (lambda: load.with_options(retry=1)(), 'did you mean "retries"?'),
        (lambda: load.with_options(name="a/b")(), "is no name"),
        (lambda: load.with_options(after=[3])(), "after: expected what a step of this workflow returned"),
    ],
)
def test_a_wrong_call_is_told_at_its_line(call: Callable[[], Any], told: str | None) -> None:
    def flow() -> None:
        call()

    if told is None:
        traced(flow)
    else:
        message = error_of(flow)
        assert told in message
        assert re.match(r"tests/unit/celesta/test_workflows\.py:\d+: ", message)


def test_all_problems_of_one_call_are_told_at_once() -> None:
    def flow() -> None:
        fit("x", rate="y", speed=3)

    assert error_of(flow).count("\n  - ") == 3


def test_what_a_workflow_itself_raises_is_shown_with_its_own_traceback() -> None:
    def flow() -> None:
        load({}["missing"])

    with pytest.raises(LoadError, match="failed while its steps were traced: KeyError: 'missing'") as caught:
        traced(flow)
    assert "test_workflows.py" in caught.value.traceback
    assert "graph.py" not in caught.value.traceback


def test_an_output_of_another_workflow_is_refused() -> None:
    kept = []

    def first() -> None:
        kept.append(load())

    def second() -> None:
        total(kept[0])

    traced(first)
    assert "belongs to another workflow" in error_of(second)


def test_what_a_workflow_returns_must_fit_its_hint() -> None:
    def wrong_type() -> str:
        return load()  # type: ignore[return-value]

    def nothing() -> None:
        return total([1.0])  # type: ignore[return-value]

    def fields() -> Fit:
        return load()  # type: ignore[return-value]

    assert "result: str is wanted, list[int] is given" in error_of(wrong_type)
    assert "its hint says None" in error_of(nothing)
    assert "its outputs are model, score" in error_of(fields)


def test_without_a_hint_the_outputs_are_what_is_returned() -> None:
    def flow():  # type: ignore[no-untyped-def]
        return load()

    assert traced(flow).interface.outputs == {"result": {"kind": "list", "items": {"kind": "int"}}}


def test_two_tasks_of_one_name_are_refused() -> None:
    def other(n: int = 3) -> list[int]:
        return [n]

    clash = task(name="load")(other)

    def flow() -> None:
        load()
        clash()

    assert 'two tasks are named "load"' in error_of(flow)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: task(lambda *args: 1), "is no name"),  # type: ignore[arg-type, misc]
        (lambda: task(name="x")(lambda *args: 1), "*args, **kwargs"),
        (lambda: task(3), "takes a function"),  # type: ignore[call-overload]
        (lambda: task(cache=Exception)(load.function), "cache: "),
        (lambda: task(cache="v2", retries=-1, timeout="x")(load.function), "retries: "),
        (lambda: workflow(later.function), "is async"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_a_task_is_refused_with_its_place(make: Callable[[], Any], told: str) -> None:
    with pytest.raises(SpecError, match=r"\.py:\d+") as caught:
        make()
    assert told in str(caught.value)


def test_a_signature_is_refused_with_all_that_is_wrong() -> None:
    def wrong(a: object, b: int = "x", c: "float" = None, *rest: int) -> list[complex]:  # type: ignore[assignment]  # noqa: RUF013
        return []

    with pytest.raises(SpecError) as caught:
        task(wrong)
    assert [p.where for p in caught.value.problems] == ["b", "c", "rest", "return"]
    assert "write `... | None`" in str(caught.value)


def test_ignored_inputs_must_exist() -> None:
    from celesta.options import Cache

    with pytest.raises(SpecError, match='"sed", which is no input'):
        task(cache=Cache(ignore=["sed"]))(load.function)


def test_tracing_grows_with_the_steps_and_no_faster() -> None:
    def tracing(count: int) -> Callable[[], None]:
        def flow() -> float:
            scores = [fit([1, 2, 3], 0.1).score for _ in range(count)]
            return total(scores)

        def work() -> None:
            assert len(traced(flow).steps) == count + 1

        return work

    assert growth(tracing, 1_000, 10_000) < 4


def test_a_workflow_that_calls_itself_without_end_is_told() -> None:
    @workflow
    def again() -> None:
        again()

    with pytest.raises(SpecError, match="traced without end"):
        again.graph()


def test_a_workflow_that_calls_no_task_is_refused_where_it_stands() -> None:
    @workflow
    def constant(n: int = 2) -> int:
        return n

    @workflow(on_failure=lambda failure: load())
    def cannot_fail() -> None:
        constant()

    for flow in (constant, cannot_fail):
        with pytest.raises(SpecError, match=rf'test_workflows\.py:\d+: workflow "{flow.name}" calls no task'):
            flow.graph()


def test_what_a_workflow_returns_to_another_fits_its_hint() -> None:
    @workflow
    def inner() -> str:
        return load()  # type: ignore[return-value]

    @workflow
    def outer() -> None:
        inner()

    with pytest.raises(SpecError, match='workflow "inner" returns what does not fit its hint'):
        outer.graph()
