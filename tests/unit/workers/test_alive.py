"""A worker that has stopped taking messages is told from one that waits for them, or is busy."""

import os
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from kombu.exceptions import OperationalError

from celesta.cli.main import celesta
from workers import alive


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """How many messages wait; None: no broker answers."""
    length: list[int | None] = [0]

    def waiting(_: str) -> dict[str, int]:
        if length[0] is None:
            raise OperationalError("away")
        return {"steps": length[0]}

    monkeypatch.setattr(alive.dispatch, "waiting", waiting)
    return length


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "alive"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_000.0]
    monkeypatch.setattr(alive, "monotonic", lambda: now[0])
    return now


def touched(file: Path, clock: list[float], taken: list[int], running: int = 0) -> bool:
    """Whether the file is touched after a time in which a stuck worker is found out."""
    config: Any = type("Config", (), {"alive_file": file, "slots": 2, "celery_broker_url": "redis://x"})()
    watch = alive.Watch(config, lambda: taken[0], lambda: running)
    clock[0] += alive.STUCK_SECONDS + 1
    taken[0] += taken[1]
    file.unlink(missing_ok=True)
    watch.look()
    return file.exists()


@pytest.mark.parametrize(
    ("why", "waiting", "taken", "running", "lives"),
    [
        ("messages wait, places are free, none is taken", 3, 0, 1, False),
        ("it takes messages", 3, 1, 1, True),
        ("nothing waits", 0, 0, 0, True),
        ("all its places are taken", 3, 0, 2, True),
        ("the broker does not say", None, 0, 0, True),
    ],
)
def test_a_worker_lives_unless_it_could_take_what_waits_and_does_not(
    file: Path,
    clock: list[float],
    queue: list[int | None],
    why: str,
    waiting: int | None,
    taken: int,
    running: int,
    lives: bool,
) -> None:
    queue[0] = waiting
    assert touched(file, clock, [7, taken], running) is lives, why


def test_a_moment_of_silence_is_no_death(file: Path, clock: list[float], queue: list[int | None]) -> None:
    config: Any = type("Config", (), {"alive_file": file, "slots": 2, "celery_broker_url": "redis://x"})()
    watch = alive.Watch(config, lambda: 7, lambda: 0)
    clock[0] += alive.STUCK_SECONDS / 2
    queue[0] = 3
    watch.look()
    assert file.exists()


@pytest.mark.parametrize(("age", "status"), [(1.0, 0), (100.0, 1), (None, 1)])
def test_the_probe_goes_by_the_age_of_the_file(file: Path, age: float | None, status: int) -> None:
    if age is not None:
        file.touch()
        os.utime(file, (time.time() - age, time.time() - age))
    done = CliRunner().invoke(celesta, ["server", "alive"], env={"CELESTA_ALIVE_FILE": str(file)})
    assert done.exit_code == status, done.output
