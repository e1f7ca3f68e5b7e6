"""Resources on a real stack: `--workers N` are N slots, and a step has as many of them as it asks for processors."""

import json
from itertools import accumulate
from pathlib import Path

import pytest

from celesta.client import Client
from tests.fixtures.stack import Stack

FLOW = """
import os
import resource
import time

from celesta import Resources, Retry, current, task, workflow

HOST = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@task(resources=Resources(cpu=2))
def big(i: int) -> list[float]:
    began = time.time()
    time.sleep(0.1)
    return [began, time.time(), 2]


@task
def small(i: int) -> list[float]:
    began = time.time()
    time.sleep(0.1)
    return [began, time.time(), 1]


@task(resources=Resources(cpu=64, memory="900Ti"))
def huge(i: int) -> int:
    return i


def run_out():
    # Really: the kernel gives this process no more.
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), used + (64 << 20)))
    return len(bytearray(512 << 20))


@task(resources=Resources(memory="64Mi"), retries=Retry(0, backoff=0, out_of_memory=1, memory_factor=4))
def hungry() -> int:
    return run_out() if current().attempt == 1 else current().attempt


@task(resources=Resources(memory=HOST // 1000), retries=Retry(0, backoff=0, out_of_memory=1, memory_factor=100))
def modest() -> int:
    return run_out()


@task(resources=Resources(memory=HOST // 50), retries=Retry(0, backoff=0, out_of_memory=1, memory_factor=100))
def greedy() -> int:
    return run_out()


@workflow
def mixed() -> list[list[float]]:
    return [step(i=i) for i in range(4) for step in (big, small)]


@workflow
def never() -> int:
    return huge(i=1)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "flow.py").write_text(FLOW)
    return tmp_path


def test_steps_that_run_at_a_time_never_have_more_than_all_slots(stack: Stack, folder: Path) -> None:
    spans = stack.json("run", "flow.py", "mixed", cwd=folder)["outputs"]["result"]
    moments = sorted([(began, slots) for began, _, slots in spans] + [(ended, -slots) for _, ended, slots in spans])
    assert max(accumulate(slots for _, slots in moments)) == 2


def test_a_step_that_could_never_start_fails_with_all_reasons(stack: Stack, folder: Path) -> None:
    done = stack.cli("run", "flow.py", "never", "--json", status=1, cwd=folder)
    assert json.loads(done.stdout)["steps"]["failed"] == 1
    assert "asks for 64, and its worker has 2 slots" in done.stderr
    assert "CELESTA_MEMORY" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_step_that_ran_out_of_memory_is_tried_again_with_more(stack: Stack, project: str, folder: Path) -> None:
    ran = stack.json("run", "flow.py", "hungry", "--project", project, cwd=folder)
    assert ran["outputs"]["result"] == 2
    with Client(stack.url, project=project) as client:
        (step,) = client.steps(ran["run_id"])
    assert [(one["state"], one["reason"]) for one in step["attempts"]] == [
        ("failed", "out_of_memory"),
        ("succeeded", None),
    ]
    assert step["attempts"][0]["error"]["type"] == "MemoryError"


@pytest.mark.parametrize("name", ["modest", "greedy"])
def test_the_attempt_after_it_has_so_many_times_more_or_all_of_the_host(
    stack: Stack, project: str, folder: Path, name: str
) -> None:
    """A hundred times as much is more than there is: that is no failure of another kind."""
    ran = stack.json("run", "flow.py", name, "--project", project, cwd=folder, status=1)
    with Client(stack.url, project=project) as client:
        (step,) = client.steps(ran["run_id"])
    assert [one["reason"] for one in step["attempts"]] == ["out_of_memory", "out_of_memory"]
