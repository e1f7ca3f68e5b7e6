"""Workflows whose results come out the same again, or do not."""

import time
from pathlib import Path

from celesta import Directory, File, current, task, workflow


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


@task(cache=True)
def pack(numbers: list[int]) -> File:
    Path("packed.bin").write_bytes(bytes(numbers))
    return File("packed.bin")


@task(cache=True)
def unpack(packed: File) -> Directory:
    for number in packed.read_bytes():
        path = Path(f"folder/numbers/{number}.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"the number {number}")
    return Directory("folder")


@workflow
def packed(n: int = 4) -> Directory:
    return unpack(packed=pack(numbers=measure(n=n)))
