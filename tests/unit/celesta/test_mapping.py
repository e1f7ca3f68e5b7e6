"""Options of a map: how many items at once, and how many have to succeed."""

from typing import Any

import pytest

from celesta import task, workflow
from celesta.errors import SpecError
from celesta.spec import validate, workflow_spec
from celesta.types import spell


@task
def score(x: int) -> float:
    return x / 2


@task
def best(scores: list[float | None]) -> float:
    return max(one for one in scores if one is not None)


@task
def total(scores: list[float]) -> float:
    return sum(scores)


@task
def named(x: int, min_success_ratio: float) -> float:
    return x * min_success_ratio


def _spec(body: Any) -> dict[str, Any]:
    def flow() -> None:
        body()

    spec, _ = workflow_spec(workflow(flow))
    assert validate(spec) == []
    return spec


def test_a_map_that_may_lose_items_has_none_in_their_place() -> None:
    found: list[Any] = []

    def body() -> None:
        found.append(score.map(x=[1, 2, 3], min_success_ratio=0.5))
        best(scores=found[0])

    assert _spec(body)["steps"][0]["options"] == {"min_success_ratio": 0.5}
    assert spell(found[0]._type) == "list[float | None]"


def test_who_uses_it_has_to_take_none() -> None:
    with pytest.raises(SpecError, match=r"list\[float\] is wanted, list\[float \| None\] is given"):
        _spec(lambda: total(scores=score.map(x=[1], min_success_ratio=0.5)))
    _spec(lambda: total(scores=score.map(x=[1], min_success_ratio=1)))


def test_an_input_of_that_name_is_an_input() -> None:
    assert _spec(lambda: named.map(x=[1, 2], min_success_ratio=[0.1, 0.2]))["steps"][0]["map"] == [
        "x",
        "min_success_ratio",
    ]


@pytest.mark.parametrize("ratio", [0, -1, 1.1, True, "half", float("nan")])
def test_a_ratio_is_above_0_and_at_most_1(ratio: Any) -> None:
    with pytest.raises(SpecError, match="above 0 and at most 1"):
        _spec(lambda: score.map(x=[1], min_success_ratio=ratio))


def test_a_step_that_is_not_mapped_has_no_ratio() -> None:
    spec = _spec(lambda: score(x=1))
    spec["steps"][0]["options"] = {"min_success_ratio": 0.5}
    assert [problem.message for problem in validate(spec)] == ["is for mapped steps only"]


def test_who_says_a_ratio_elsewhere_is_told_where() -> None:
    with pytest.raises(SpecError, match=r"min_success_ratio: .* give it to \.map\(\.\.\.\)"):
        score.with_options(min_success_ratio=0.5)


def test_a_plain_map_knows_the_options_too() -> None:
    assert score.map(x=[1, 2], min_success_ratio=0.5) == [0.5, 1.0]


def test_a_map_says_how_many_of_its_items_may_be_at_work() -> None:
    assert _spec(lambda: score.map(x=[1, 2], concurrency=2))["steps"][0]["options"] == {"concurrency": 2}
    with pytest.raises(SpecError, match="concurrency: 0 is not a whole number above 0"):
        _spec(lambda: score.map(x=[1], concurrency=0))
