"""Limits and fair shares, in real workers on a real broker."""

import os
import signal
from pathlib import Path
from typing import Any

from sqlalchemy import select

from app.db import db
from app.models import Project
from app.services.limit_set import set_limit
from app.services.project_create import create_project
from app.services.run_query import live_counts
from tests.fixtures.processes import wait_until
from tests.integration.engine.deployment import ROOT, Deployment
from tests.integration.engine.test_workers import deployed
from tests.unit.app.specs import step, task, text, value
from workers.engine import keys

__all__ = ["deployed"]  # the fixture


def _many(count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    steps = [step(f"double#{number}", "double", inputs={"x": value(number)}) for number in range(2, count + 2)]
    return [task("double")], steps


def _ended(deployed: Deployment, run: str) -> int:
    counts = live_counts(db.session, [deployed.status(run)])
    return counts[run]["succeeded"] if run in counts else deployed.status(run).succeeded


def test_a_project_with_2000_waiting_steps_does_not_starve_one_with_10(deployed: Deployment) -> None:
    create_project(db.session, ROOT, "small")
    with deployed.role("recorder"), deployed.role("worker"):
        large = deployed.launch(*_many(2_000))
        wait_until(lambda: _ended(deployed, large) > 50, 60, what="a project at work")
        small = deployed.launch(*_many(10), in_project="small")
        assert deployed.ended(small, 60).status == "succeeded"
        assert _ended(deployed, large) < 1_500, "the small project waited for the large one"
        assert deployed.ended(large, 120).succeeded == 2_000


def _begun(flag: Path) -> int:
    return len(flag.read_text().split()) if flag.exists() else 0


def test_a_limit_is_never_passed_although_workers_die(deployed: Deployment, tmp_path: Path) -> None:
    project = db.session.scalars(select(Project).where(Project.name == "default")).one()
    set_limit(db.session, ROOT, project, "gpu", 1)
    flag = tmp_path / "flag"
    gated = task("gated", ("flag",), limits=["gpu"])
    gated["interface"]["inputs"] = [{"name": "flag", "type": {"kind": "str"}, "required": True}]
    steps = [step(f"gated#{number}", "gated", inputs={"flag": text(str(flag))}) for number in range(2, 10)]
    with deployed.role("recorder"), deployed.role("worker") as worker:
        run = deployed.launch([gated], steps)
        for number in (1, 3):
            wait_until(lambda number=number: _begun(flag) >= number, 30, what="a step at work")
            for child in deployed.children(worker):
                os.kill(child.pid, signal.SIGKILL)
        row = deployed.ended(run, 90)
        assert (row.status, row.succeeded) == ("succeeded", 8)
    assert {int(count) for count in flag.read_text().split()} == {1}
    assert deployed.client.scard(f"{keys.LIMITS}:default:@gpu") == 0
    assert deployed.client.zcard(f"{keys.LIMITS}:default:line:@gpu") == 0
