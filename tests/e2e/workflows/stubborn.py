"""Steps that do not want to end, and steps that fail until they are helped. Each leaves a line in a file."""

import os
import signal
import time
from pathlib import Path

from celesta import current, task, unmapped, webhook, workflow


def note(folder: str, name: str) -> None:
    with (Path(folder) / name).open("a") as file:
        file.write(f"{os.getpid()}\n")


def stay() -> None:
    """Ignores every polite signal, for a minute."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        time.sleep(1)


@task
def cling(folder: str) -> int:
    """Has a child in a session of its own, which has one too; none of them listens."""
    if os.fork() == 0:
        os.setsid()
        os.fork()
        note(folder, "pids")
        stay()
        os._exit(0)
    note(folder, "pids")
    stay()
    return 1


@task
def count(folder: str, number: int) -> int:
    note(folder, f"count-{number}")
    if number == 3 and not (Path(folder) / "helped").exists():
        raise ValueError("number 3 needs help")
    return number


@task
def add(folder: str, values: list[int]) -> int:
    note(folder, "add")
    return sum(values)


@task
def first(folder: str, n: int) -> int:
    note(folder, "first")
    return n


@task
def slowly(folder: str, n: int, seconds: float) -> int:
    note(folder, "slowly")
    time.sleep(seconds)
    return n + 1


@workflow
def clinging(folder: str) -> int:
    return cling(folder=folder)


@workflow(timeout=4)
def hurried(folder: str) -> int:
    return cling(folder=folder)


@workflow
def impatient(folder: str) -> int:
    return cling.with_options(timeout=2)(folder=folder)


@workflow(policy="fail_fast")
def strict(folder: str) -> int:
    cling(folder=folder)
    return count(folder=folder, number=slowly(folder=folder, n=2, seconds=2))


@workflow
def counting(folder: str) -> int:
    return add(folder=folder, values=count.map(folder=unmapped(folder), number=[1, 2, 3, 4, 5]))


@workflow
def stages(folder: str, n: int = 1, m: int = 10, seconds: float = 0.0) -> int:
    one = first(folder=folder, n=n)
    two = slowly(folder=folder, n=one, seconds=seconds)
    return add(folder=folder, values=[two, slowly.with_options(name="beside")(folder=folder, n=m, seconds=0.0)])


@task
def keep(folder: str, failure: dict) -> None:
    with (Path(folder) / "failure").open("a") as file:
        file.write(f"{failure['path']}\n")


def tell(failure, folder, address):
    keep(folder=folder, failure=failure)
    webhook(url=address, body=failure)


@workflow(on_failure=tell)
def watched(folder: str, address: str, number: int = 3) -> int:
    return count(folder=folder, number=number)


@task
def measure(folder: str) -> None:
    for step in range(3):
        current().log_metric("loss", 1 / (step + 1), step=step)
    note(folder, "measured")
    while not (Path(folder) / "go").exists():
        time.sleep(0.05)


@workflow
def measuring(folder: str) -> None:
    measure(folder=folder)
