"""What one Celery child, or one thread that launches, owns: its runner, and the thread that keeps its leases.

Made with the first step that the child gets, never in the parent: threads and connections do not survive a fork.
"""

import os
import threading
from functools import lru_cache
from typing import TYPE_CHECKING

from workers.engine.leases import Leases
from workers.engine.livelog import LiveLog
from workers.engine.running import Runner
from workers.executors.chosen import ChosenExecutor

if TYPE_CHECKING:
    from workers.celery_app import CelestaApp


def name() -> str:
    """How this child signs its leases: with its parent, who ends them by `expire` when it sees the child die."""
    return f"{os.uname().nodename}:{os.getppid()}:{os.getpid()}"


def runner(app: "CelestaApp") -> Runner:
    """The runner of this thread; its executor is that of the process."""
    pid = os.getpid()
    made: Runner | None = getattr(_own, "runner", None)
    if made is None or _own.pid != pid:
        made = Runner(app.engine, _executor(app, pid), name(), app.config.store_url)
        _own.runner, _own.pid = made, pid
        Leases(made).start()
    return made


_own = threading.local()


@lru_cache(maxsize=1)
def _executor(app: "CelestaApp", _pid: int) -> ChosenExecutor:
    live = LiveLog(app.engine.client)
    return ChosenExecutor(app.config, live.write, live.measure)
