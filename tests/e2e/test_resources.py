"""Resources on a real stack: `--workers N` are N slots, and a step has as many of them as it asks for processors."""

import json
from itertools import accumulate
from pathlib import Path

import pytest

from tests.fixtures.stack import Stack

FLOW = """
import time

from celesta import Resources, task, workflow


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
