"""Steps that take long enough to be killed in the middle."""

import time

from celesta import task, unmapped, workflow


@task
def nap(number: int, seconds: float) -> int:
    time.sleep(seconds)
    return number


@task
def add(values: list[int]) -> int:
    return sum(values)


@workflow
def naps(numbers: list[int] = list(range(12)), seconds: float = 0.4) -> int:
    return add(values=nap.map(number=numbers, seconds=unmapped(seconds)))


@workflow
def relay(seconds: float = 0.0) -> int:
    """Five steps, each of which waits for the one before."""
    value = nap(number=1, seconds=seconds)
    for _ in range(4):
        value = nap(number=value, seconds=seconds)
    return value
