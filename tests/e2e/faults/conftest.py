"""Faults that come again and again are tried on a map of `MANY` items, the others on one of `ITEMS`.

`make soak` makes the large map larger by `FAULT_ITEMS`, and tries each fault `FAULT_ROUNDS` times.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.faults.trial import LEASE_SECONDS, Trial, run_seconds
from tests.fixtures.stack import Stack

ITEMS = 300
MANY = int(os.environ.get("FAULT_ITEMS", "1000"))
ROUNDS = int(os.environ.get("FAULT_ROUNDS", "1"))

NewTrial = Callable[..., Trial]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A run that is disturbed may take minutes on a busy machine; the trial itself says when it took too long."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(2 * run_seconds(MANY)))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if ROUNDS > 1 and "new_trial" in metafunc.fixturenames:
        metafunc.parametrize("round_number", range(ROUNDS))


@pytest.fixture
def round_number() -> int:
    """Which repetition this is."""
    return 0


@pytest.fixture
def new_trial(new_stack: Callable[..., Stack], tmp_path: Path, round_number: int) -> NewTrial:
    """`new_trial(items=…, CELESTA_…=…)`: a stack of two slots with short leases, and nothing launched on it yet."""

    def start(items: int = ITEMS, redis_url: str | None = None, **environ: str) -> Trial:
        stack = new_stack("--workers", 2, CELESTA_LEASE_SECONDS=str(LEASE_SECONDS), **environ)
        return Trial(stack, items, tmp_path, redis_url)

    return start
