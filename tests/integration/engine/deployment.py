"""Real server processes over real services: a worker, a recorder, and a project whose bundle a test writes."""

import io
import os
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

import psutil
from redis import Redis
from sqlalchemy import select

from app.access import Principal
from app.config import Config
from app.db import db
from app.models import Attempt, Project, Run
from app.services.run_launch import launch_run
from app.services.version_register import register_version
from app.stores import store_of
from celesta.store.base import Store
from tests.fixtures.processes import server, wait_until
from tests.unit.app.specs import spec
from workers.engine import keys

ROOT = Principal.operator("root")
ROLE = """
import sys
from pathlib import Path
from app.config import Config
from workers.consumers import run_role
{before}
run_role(sys.argv[1], Config.from_env(), ready=lambda: Path(sys.argv[2]).write_text("ready"))
"""
STEPS = """
import os, time
def one(): return 1
def double(x): return 2 * x
def fail(): raise ValueError("no luck")
def gated(flag):
    import glob
    mine = flag + "." + str(os.getpid())
    open(mine, "w").close()
    alive = [other for other in glob.glob(flag + ".*") if os.path.exists("/proc/" + other.rpartition(".")[2])]
    open(flag, "a").write(str(len(alive)) + "\\n")
    time.sleep(0.3)
    os.remove(mine)
    return 1
def slow(seconds, flag):
    first = not os.path.exists(flag)
    open(flag, "a").write(str(os.getpid()) + "\\n")
    time.sleep(seconds if first else 0)
    return 1
"""


@dataclass
class Deployment:
    """What the processes of one test share."""

    config: Config
    folder: Path

    def __post_init__(self) -> None:
        self.client = Redis.from_url(self.config.redis_url)
        self.store: Store = store_of(self.config)

    @contextmanager
    def role(self, role: str, before: str = "") -> Iterator[Popen[bytes]]:
        """One server process; the block begins when it consumes its queues."""
        ready = self.folder / f"{role}-{os.urandom(4).hex()}"
        code = ROLE.format(before=before)
        with server([sys.executable, "-c", code, role, str(ready)], self.folder / f"{role}.log") as process:
            wait_until(lambda: ready.exists() or process.poll() is not None, what=f"a ready {role}")
            assert process.poll() is None, (self.folder / f"{role}.log").read_text()
            yield process

    def launch(
        self,
        tasks: list[dict[str, Any]],
        steps: list[dict[str, Any]],
        in_project: str = "default",
        options: dict[str, Any] | None = None,
        **fields: Any,
    ) -> str:
        """Registers a workflow with the bundle and launches it; the run's id."""
        zipped = io.BytesIO()
        with zipfile.ZipFile(zipped, "w") as bundle:
            bundle.writestr("flow.py", STEPS)
        document = spec(tasks, steps, bundle=self.store.put_blob(zipped.getvalue()), **fields)
        project = db.session.scalars(select(Project).where(Project.name == in_project)).one()
        register_version(db.session, self.store, ROOT, project, document)
        return str(launch_run(db.session, self.config, self.store, ROOT, project, workflow="flow", options=options).id)

    def status(self, run: str) -> Run:
        db.session.rollback()
        return db.session.get_one(Run, run, populate_existing=True)

    def ended(self, run: str, seconds: float = 30.0) -> Run:
        """The run as it was recorded at its end."""
        wait_until(lambda: self.status(run).recorded_at is not None, seconds, what="the recorded end of the run")
        return self.status(run)

    def attempts(self, run: str) -> list[tuple[str, str, str | None]]:
        rows = db.session.scalars(select(Attempt).where(Attempt.run_id == run).order_by(Attempt.token)).all()
        return [(row.token, row.state, row.reason) for row in rows]

    def state(self, run: str, node: str) -> str:
        record = self.client.hget(keys.states(run), node) or b""
        return record.split(b"|")[0].decode()

    def children(self, worker: Popen[bytes]) -> list[psutil.Process]:
        """The Celery children of a worker: those that hold leases, not the zygote."""
        return [p for p in psutil.Process(worker.pid).children() if "zygote" not in " ".join(p.cmdline())]
