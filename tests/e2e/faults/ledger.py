"""A map with a join whose steps write down that they began: side effects that can be counted."""

import time
from pathlib import Path

from celesta import current, task, unmapped, workflow

MODULUS = 1_009


def enter(ledger: str) -> None:
    with Path(ledger).open("a") as book:  # One short line, appended: no two writers mix.
        book.write(f"{current().step_path} {current().attempt}\n")


@task
def numbers(count: int) -> list[int]:
    return list(range(count))


@task
def work(number: int, seconds: float, ledger: str) -> int:
    enter(ledger)
    time.sleep(seconds)
    return number * number % MODULUS


@task
def total(values: list[int], ledger: str) -> int:
    enter(ledger)
    return sum(values)


@task
def last(value: int, ledger: str) -> int:
    enter(ledger)
    return value + 1


@workflow
def counted(count: int, seconds: float, ledger: str) -> int:
    worked = work.map(number=numbers(count=count), seconds=unmapped(seconds), ledger=unmapped(ledger))
    return last(value=total(values=worked, ledger=ledger), ledger=ledger)


def expected(count: int) -> int:
    """What an undisturbed run gives."""
    return sum(number * number % MODULUS for number in range(count)) + 1
