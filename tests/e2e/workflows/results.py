"""Workflows whose results come out the same again, or do not."""

import time

from celesta import current, task, workflow


@task(cache=True)
def measure(n: int) -> list[int]:
    for step in range(n):
        current().log_metric("loss", 1 / (step + 1), step=step)
    return list(range(n))


@task
def clock(numbers: list[int]) -> float:
    return time.time()


@task(cache=True)
def total(numbers: list[int]) -> int:
    current().log_metric("total", sum(numbers))
    return sum(numbers)


@workflow
def steady(n: int = 4) -> int:
    return total(numbers=measure(n=n))


@workflow
def ticking(n: int = 4) -> float:
    return clock(numbers=measure(n=n))
