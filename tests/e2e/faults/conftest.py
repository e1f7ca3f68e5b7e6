"""Faults are tried on runs of `FAULT_ITEMS` items, `FAULT_ROUNDS` times each: few in CI, many in `make soak`."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.faults.trial import LEASE_SECONDS, Trial
from tests.fixtures.stack import Stack

ITEMS = int(os.environ.get("FAULT_ITEMS", "300"))
ROUNDS = int(os.environ.get("FAULT_ROUNDS", "1"))

NewTrial = Callable[..., Trial]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A run that is disturbed may take minutes on a busy machine; the trial itself says when it took too long."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(600))


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
