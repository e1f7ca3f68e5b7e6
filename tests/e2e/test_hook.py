"""Joins are counted in Celery's own hook and nowhere else."""

import json
import subprocess
import sys
from pathlib import Path

from celesta.client import Client
from tests.e2e.conftest import WORKFLOWS
from tests.fixtures.processes import wait_until
from tests.fixtures.stack import Stack

MUTED_STACK = """
import runpy
from workers.engine import ChordBackend
ChordBackend.on_chord_part_return = lambda *args, **options: None
runpy.run_module("workers.stack", run_name="__main__", alter_sys=True)
"""


def test_a_run_does_not_get_past_its_first_step_when_the_hook_does_nothing(home: Path) -> None:
    """The lease is far longer than the test, so that the reconciler does not repair what the hook leaves undone."""
    stack = Stack(home, {"CELESTA_LEASE_SECONDS": "600"})
    with subprocess.Popen(
        [sys.executable, "-I", "-c", MUTED_STACK, "--port", "0", "--workers", "2", "--detach"],
        env=stack.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as supervisor:
        assert supervisor.stdout
        assert "url" in json.loads(supervisor.stdout.readline())
        look_at_a_run(stack)


def look_at_a_run(stack: Stack) -> None:
    try:
        run = json.loads(stack.cli("run", WORKFLOWS / "slow.py", "relay", "--no-wait", "--json").stdout)
        wait_until(lambda: list((stack.home / "store").rglob("result.json")), 20, "the manifest of the first step")
        with Client(stack.url) as client:
            document = client.wait(run["run_id"], timeout=3)
        assert document["status"] == "running"
        assert document["steps"]["succeeded"] == 0
    finally:
        stack.down()
