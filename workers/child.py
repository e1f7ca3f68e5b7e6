"""What one Celery child owns: its executor, its runner, and the thread that keeps its leases.

Made with the first step that the child gets, never in the parent: threads and connections do not survive a fork.
"""

import os
from functools import lru_cache
from typing import TYPE_CHECKING

from workers.engine.leases import Leases
from workers.engine.livelog import LiveLog
from workers.engine.running import Runner
from workers.executors.chosen import ChosenExecutor

if TYPE_CHECKING:
    from workers.celery_app import CelestaApp


def name(pid: int | None = None) -> str:
    """How this process signs its leases; `expire` takes the name apart to see whether its owner lives."""
    return f"{os.uname().nodename}:{pid or os.getpid()}"


def runner(app: "CelestaApp") -> Runner:
    """The runner of this process."""
    return _runner(app, os.getpid())


@lru_cache(maxsize=1)
def _runner(app: "CelestaApp", pid: int) -> Runner:
    config = app.config
    live = LiveLog(app.engine.client)
    executor = ChosenExecutor(config, live.write, live.measure)
    made = Runner(app.engine, executor, name(pid), config.store_url)
    Leases(made).start()
    return made
