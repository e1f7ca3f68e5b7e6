"""Plain calls: outside a workflow that is traced, tasks and workflows are their functions."""

import asyncio
from typing import NamedTuple

import pytest

from celesta.errors import SpecError
from celesta.graph import unmapped
from celesta.tasks import task
from celesta.workflows import workflow


class Fit(NamedTuple):
    model: str
    score: float


@task
def load(n: int = 3) -> list[int]:
    return list(range(n))


@task
def fit(data: list[int], rate: float = 0.5) -> Fit:
    return Fit(f"m{len(data)}", rate)


@task
def total(values: list[float]) -> float:
    return sum(values)


@task
async def later(n: int) -> int:
    await asyncio.sleep(0)
    return n + 1


def test_a_workflow_called_plainly_runs_its_python() -> None:
    @workflow
    def search(n: int = 4, rates: list[float] = [0.1, 0.2]) -> float:  # noqa: B006
        fits = fit.map(data=unmapped(load(n=n)), rate=rates)
        return total(fits.score)

    assert search() == pytest.approx(0.3)
    assert search(n=1, rates=[1.0]) == 1.0


def test_a_plain_call_of_an_async_task_gives_its_coroutine_and_a_workflow_awaits_it() -> None:
    @workflow
    def flow() -> int:
        return later(later(1))  # type: ignore[arg-type, return-value]

    assert asyncio.run(later(1)) == 2  # type: ignore[arg-type]
    assert flow() == 3

    async def notebook() -> int:
        return flow()

    assert asyncio.run(notebook()) == 3
    assert later.map([1, 2]) == [2, 3]


def test_options_of_one_call_change_nothing_in_a_plain_call() -> None:
    assert load.with_options(name="x", retries=3)(2) == [0, 1]


def test_a_plain_map_needs_lists_of_one_length() -> None:
    with pytest.raises(SpecError, match="all lists have one length"):
        fit.map(data=[[1], [2]], rate=[0.1])
    with pytest.raises(SpecError, match="there is no such input"):
        fit.map(data=[[1]], rates=[0.1])


def test_a_task_looks_like_its_function() -> None:
    assert (load.__name__, load.__module__, load.__wrapped__) == ("load", __name__, load.function)  # type: ignore[attr-defined]
    assert repr(load) == "<task 'load'>"
