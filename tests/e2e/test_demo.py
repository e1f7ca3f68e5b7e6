"""`celesta demo` as `make demo` calls it, and a run from Python."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from celesta.settings import running_stack
from tests.fixtures.stack import Stack

SCRIPT = """
import json

import celesta


@celesta.task
def scale(values: list[float], by: float = 2.0) -> list[float]:
    return [value * by for value in values]


@celesta.workflow
def scaled(values: list[float]) -> list[float]:
    return scale(values=values)


if __name__ == "__main__":
    run = celesta.launch(scaled, values=[1, 2.5])
    print(json.dumps([run.wait(timeout=60).outputs, run.status, run.url]))
    try:
        celesta.launch(scaled, value=[1], values="x")
    except celesta.errors.InputError as error:
        print(json.dumps([problem.where for problem in error.problems]))
"""


def test_the_demo_runs_twice_and_stops_everything(home: Path) -> None:
    pytest.importorskip("sklearn")
    first, second = Stack(home).json("demo", "--exit", timeout=110)["runs"]
    assert (first["status"], second["status"]) == ("succeeded", "succeeded")
    assert first["steps"]["succeeded"] == second["steps"]["cached"] == first["steps"]["total"] >= 16
    assert second["steps"]["succeeded"] == 0
    assert second["outputs"] == first["outputs"]
    assert running_stack(home) is None
    assert "celesta up" in Stack(home).cli("status", status=3).stderr


def test_a_run_is_launched_from_python(stack: Stack, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environ = os.environ | {"CELESTA_HOME": str(stack.home)}
    done = subprocess.run(
        [sys.executable, str(script)], env=environ, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    launched, problems = map(json.loads, done.stdout.splitlines())
    assert launched[:2] == [{"result": [2.0, 5.0]}, "succeeded"]
    assert launched[2].startswith(stack.url)
    assert problems == ["value", "values"]
