"""Stock Celery, as its documentation sets it up: Redis as broker and result backend, prefork with two children.

The worker of the comparison (``celery -A benchmarks.stock worker``), and the canvases that Celesta stands beside.
"""

import os
from time import perf_counter

from celery import Celery, chain, chord

URL = os.environ["BENCHMARK_CELERY_URL"]
app = Celery("stock", broker=URL, backend=URL)


@app.task
def item(index: int) -> int:
    return index


@app.task
def count(values: list[int]) -> int:
    return len(values)


@app.task
def link(value: int) -> int:
    return value + 1


def fan_seconds(width: int) -> float:
    """From sending a chord of ``width`` no-ops to having its result."""
    started = perf_counter()
    got = chord(item.s(index) for index in range(width))(count.s()).get(timeout=120, interval=0.005)
    assert got == width
    return perf_counter() - started


def chain_seconds(length: int) -> float:
    started = perf_counter()
    got = chain(link.s(0), *(link.s() for _ in range(length - 1))).apply_async().get(timeout=120, interval=0.005)
    assert got == length
    return perf_counter() - started
