"""Branches, dynamic steps, nested maps, sub-workflows and references, for the tests of a real stack."""

import time
from pathlib import Path
from typing import NamedTuple

from celesta import dynamic, reference, task, unmapped, when, workflow


class Fit(NamedTuple):
    depth: int
    score: float


@task
def fit(depth: int) -> Fit:
    return Fit(depth, depth / 10)


@task
def deploy(depth: int) -> str:
    return f"deployed {depth}"


@task
def report(depth: int) -> str:
    return f"reported {depth}"


@task
def double(x: int) -> int:
    return 2 * x


@task
def total(xs: list[int]) -> int:
    return sum(xs)


@dynamic
def sum_of(xs: list[int]) -> int:
    """Maps inside what may be an item of a map itself."""
    return total(xs=double.map(x=xs)) if xs else 0


@dynamic
def refine(depth: int, least: float) -> Fit:
    """Calls itself until the score is good enough; the branch is decided by a value of this very call."""
    return Fit(depth, depth / 10) if depth / 10 >= least else refine(depth=depth + 1, least=least)


@dynamic
def endless(n: int) -> int:
    return endless(n=n + 1)


@workflow
def choose(depth: int = 7) -> str:
    best = fit(depth=depth)
    return when(best.score >= 0.5, then=lambda: deploy(depth=best.depth), otherwise=lambda: report(depth=best.depth))


@workflow
def nested(xs: list[list[int]] = [[1, 2], [], [3, 4, 5]]) -> int:
    return total(xs=sum_of.map(xs=xs))


@workflow
def language(depth: int = 1) -> str:
    """All of it, one in the other."""
    best = refine(depth=depth, least=0.3)
    first = choose(depth=best.depth)
    again = reference("choose").with_options(name="registered")(depth=total(xs=[nested(xs=[[1], [2]]), best.depth]))
    return joined(texts=[first, again])


@task
def joined(texts: list[str]) -> str:
    return ", ".join(texts)


@workflow
def without_end() -> int:
    return endless(n=0)


@task
def press(place: str, name: str) -> int:
    """Fails while another one of this name is at work."""
    busy = Path(place) / name
    busy.touch(exist_ok=False)
    time.sleep(0.2)
    busy.unlink()
    return 1


@dynamic
def presses(place: str, name: str) -> int:
    """A map of one item at a time, beside steps on a limit of the project."""
    places = [place] * 4
    one_by_one = press.with_options(concurrency=1).map(place=places, name=unmapped(name))
    limited = [press.with_options(limits=["press"])(place=place, name="limited") for _ in range(3)]
    return total(xs=[total(xs=one_by_one), *limited])


@workflow
def crowded(place: str) -> int:
    """Four ways to want what only one may have: a map, and three maps in a map that share a limit."""
    mapped = press.with_options(concurrency=1).map(place=[place] * 6, name=unmapped("mapped"))
    inside = presses.map(place=unmapped(place), name=["a", "b", "c"])
    return total(xs=[total(xs=mapped), total(xs=inside)])
