"""The workflows that are measured: steps that do next to nothing, cached like anybody's.

Each run gets a ``salt`` of its own, so that every step is looked up, missed, run, stored, recorded and indexed. The
items of ``wide`` are as plain as a step can be.
"""

import os
import signal
import time
from pathlib import Path

from celesta import task, unmapped, workflow

FAN = 1_000
CHAIN = 500
FIBONACCI = 40
HURRY_SECONDS = 2
GROUPS, GROUP = 100, 99  # and a join for each group: 10,000 steps


@task(cache=True)
def item(index: int, salt: str, after: int = 0) -> int:
    return index


@task(cache=True)
def count(values: list[int]) -> int:
    return len(values)


@task(cache=True)
def link(value: int, salt: str) -> int:
    return value + 1


@task(cache=True)
def fibo(n: int, position: int, after: int, salt: str) -> int:
    """Windmill's comparison runs 40 of these in a row."""

    def number(k: int) -> int:
        return k if k < 2 else number(k - 1) + number(k - 2)

    return number(n)


@task
def cling(place: str) -> None:
    """Writes its process id there, and ignores that it should end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(place).write_text(str(os.getpid()))
    time.sleep(60)


@task
def numbers(count: int) -> list[int]:
    return list(range(count))


@task
def same(index: int) -> int:
    return index


@workflow
def wide(items: int) -> int:
    return count(values=same.map(index=numbers(count=items)))


@workflow
def fan(salt: str) -> int:
    return count(values=item.map(index=list(range(FAN)), salt=unmapped(salt)))


@workflow
def chain(salt: str) -> int:
    value = link(value=0, salt=salt)
    for _ in range(CHAIN - 1):
        value = link(value=value, salt=salt)
    return value


@workflow
def fibonacci(salt: str) -> int:
    value = fibo(n=10, position=0, after=0, salt=salt)
    for position in range(1, FIBONACCI):
        value = fibo(n=10, position=position, after=value, salt=salt)
    return value


@workflow
def large(salt: str) -> int:
    value = 0
    for group in range(GROUPS):
        first = group * GROUP
        value = count(values=[item(index=first + i, salt=salt, after=value) for i in range(GROUP)])
    return value


@workflow
def hurried(place: str) -> None:
    cling.with_options(timeout=HURRY_SECONDS)(place=place)


@workflow
def clinging(place: str) -> None:
    cling(place=place)
