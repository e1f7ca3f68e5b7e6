"""The processes that consume queues: the roles `worker` and `recorder` of a server.

`workers.server` calls `run_role`, which blocks until the process is told to end. The recorder role is a Celery worker
with threads, for starts that must not wait behind steps, and beside it the loops of the recorder and the reconciler.
Owns when these threads start and stop.
"""

import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

import psutil
from celery import signals
from celery.platforms import SecurityWarning
from redis import RedisError

from app.config import Config
from workers import alive, reconciler, recorder
from workers.celery_app import CelestaApp, create, worker_argv
from workers.engine.running import expire
from workers.executors.process import start_zygote

log = logging.getLogger(__name__)

STOP_SECONDS = 5.0
END_SECONDS = 7.0
"""When a worker that was told to end, and stands still instead, is ended: after what its steps have, and before its
supervisor ends it, which could hand nothing back."""

Loop = Callable[[threading.Event], None]


def run_role(role: str, config: Config, ready: Callable[[], None] = lambda: None) -> None:
    """Runs the role in this process; `ready` is called when it consumes its queues."""
    app = create(config)
    threads = Threads(_loops(app) if role == "recorder" else [alive.of_worker(config)] if config.alive_file else [])
    close = _prepare_executor(config) if role == "worker" else lambda: None

    def on_ready(**_: Any) -> None:
        threads.start()
        if role == "worker":
            _end_in_time(app)
        ready()

    # Celery warns of root for the sake of pickled messages, which we refuse.
    warnings.filterwarnings("ignore", category=SecurityWarning)
    signals.worker_ready.connect(on_ready, weak=False)
    try:
        app.worker_main(worker_argv(role, config))
    finally:
        threads.stop()
        close()
        if role == "worker":
            _hand_back(app)


def _end_in_time(app: CelestaApp) -> None:
    """Celery ends in the handler of the signal, in the midst of whatever the process was at: it may wait there for a
    lock that it has itself."""
    celerys = signal.getsignal(signal.SIGTERM)

    def end(number: int, frame: FrameType | None) -> None:
        watch = threading.Timer(END_SECONDS, _end_now, (app,))
        watch.daemon = True
        watch.start()
        if callable(celerys):
            celerys(number, frame)

    signal.signal(signal.SIGTERM, end)


def _end_now(app: CelestaApp) -> None:
    log.critical("the worker was told to end and stands still: it is ended")
    below = psutil.Process().children(recursive=True)
    for process in below:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(below, timeout=1.0)
    _hand_back(app)
    os._exit(1)


def _hand_back(app: CelestaApp) -> None:
    """What the children of this worker had in hand when they were ended, others may begin at once."""
    try:
        expire(app.engine)
    except RedisError as error:
        log.warning("the leases of this worker run out by themselves: %s", error)


def _loops(app: CelestaApp) -> list[Loop]:
    return [partial(recorder.run, config=app.config), partial(reconciler.run, app)]


def _prepare_executor(config: Config) -> Callable[[], None]:
    """Starts what all children share, before they are forked; what ends it again."""
    if config.executor != "process":
        return lambda: None
    return start_zygote(config).close


class Threads:
    """Loops that run until they are told to stop. One that dies takes the process along, for the supervisor to see."""

    def __init__(self, loops: list[Loop]) -> None:
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._guard, args=(loop,), daemon=True) for loop in loops]

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        self.stopping.set()
        for thread in self.threads:
            if thread.ident is not None:
                thread.join(STOP_SECONDS)

    def _guard(self, loop: Loop) -> None:
        try:
            loop(self.stopping)
        except Exception:
            log.critical("a loop of the recorder role ended; the process ends with it", exc_info=True)
            os.kill(os.getpid(), signal.SIGTERM)
