"""A disk that is full."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.faults.conftest import NewTrial
from tests.fixtures.processes import missing

WORKFLOW = """
from celesta import File, task, workflow

@task
def fill(megabytes: int) -> File:
    with open("big", "wb") as file:
        for _ in range(megabytes):
            file.write(bytes(range(256)) * 4096)
    return File("big")

@workflow
def filling(megabytes: int) -> File:
    return fill(megabytes=megabytes)
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of eight megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder]).returncode:
        missing("a small file system", "mounting one needs root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_is_a_clear_failure_and_leaves_no_half_object(
    new_trial: NewTrial, small_disk: Path, tmp_path: Path
) -> None:
    trial = new_trial(CELESTA_STORE_URL=f"file://{small_disk}/store")
    (tmp_path / "filling.py").write_text(WORKFLOW)
    failed = trial.stack.cli("run", tmp_path / "filling.py", "filling", "--megabytes", 12, status=1)
    assert "No space left on device" in failed.stdout + failed.stderr
    assert max(path.stat().st_size for path in (small_disk / "store").rglob("*") if path.is_file()) < 1 << 20
    fits = trial.stack.json("run", tmp_path / "filling.py", "filling", "--megabytes", 2)
    assert fits["status"] == "succeeded", "what was half-written was given back"
