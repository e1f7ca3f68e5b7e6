"""The roles of a server, one function each, and `upgrade`. Configuration comes from the environment.

`python -I -m workers.server ROLE` runs one in a container or under `celesta server ROLE`; the supervisor of
`celesta up` forks them. A role returns when its process has been told to end. Imports stay inside the functions: a role
loads only what it needs, unless the supervisor calls `preload` to share the code among all of them.
"""

import argparse
import gc
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from app.config import Config
from celesta.cli.exits import exit_status
from celesta.errors import CelestaError
from celesta.runtime.processes import die_with_parent

WEB_THREADS = 64
"""Requests at a time; `app.events` lets fewer event streams than this be open, so that pages always find a thread."""
COLLECT_AFTER = 20_000, 20, 20
"""New objects, and rounds of the younger generations, after which the collector goes through a generation."""
PRELOADED = (
    "workers.celery_app",  # first: it sets what billiard reads when it is imported
    "celery.apps.worker",
    "celery.concurrency.prefork",
    "celery.concurrency.thread",
    "workers.consumers",
    "workers.beat",
    "app.api",
    "app.web",
    "alembic.command",
    "gunicorn.arbiter",
    "gunicorn.workers.gthread",
)

Ready = Callable[[], None]


def web(ready: Ready, bind: str = "127.0.0.1:8420") -> None:
    """REST API and dashboard, in one gunicorn worker with threads."""
    from gunicorn.app.base import BaseApplication

    from app import create_app
    from app.secret import secret_key

    config = Config.from_env()
    secret_key(config)  # a key that is missing is told here, without a traceback of gunicorn's worker

    def loaded() -> None:
        calm_collector()
        ready()

    class Web(BaseApplication):  # type: ignore[misc]
        def load_config(self) -> None:
            for name, value in gunicorn_settings(bind).items():
                self.cfg.set(name, value)
            self.cfg.set("post_fork", lambda arbiter, _worker: die_with_parent(arbiter.pid))
            self.cfg.set("post_worker_init", lambda _worker: loaded())

        def load(self) -> Any:
            return create_app(config)

    Web().run()


def calm_collector() -> None:
    """Keeps the garbage collector from stopping requests: what is loaded once is not looked through again and again.

    Else one answer in ten or so, of those that make thousands of small objects, takes a tenth of a second longer.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def gunicorn_settings(bind: str) -> dict[str, Any]:
    shm = Path("/dev/shm")  # noqa: S108 - gunicorn's heartbeat file; on a disk it would stall with the disk
    return {
        "bind": bind,
        "worker_class": "gthread",
        "workers": 1,
        "threads": WEB_THREADS,
        "worker_tmp_dir": str(shm) if os.access(shm, os.W_OK) else None,
        "control_socket_disable": True,  # it would be made in the working folder
        "graceful_timeout": 3,  # event streams never end by themselves
        "keepalive": 75,
        "loglevel": "warning",
    }


def upgrade(ready: Ready = lambda: None) -> None:
    """Bring the database to the newest schema, and end."""
    from app import db

    db.upgrade(Config.from_env())
    ready()


def worker(ready: Ready) -> None:
    """Takes steps from the queue and runs them, each in a process of its own."""
    from celery.signals import worker_process_init

    main_process = os.getpid()

    def tie(**_: Any) -> None:
        die_with_parent(main_process)

    worker_process_init.connect(tie, weak=False)
    consume("worker", ready)


def recorder(ready: Ready) -> None:
    """Starts runs, writes what happened to the database, and repairs what was lost."""
    consume("recorder", ready)


def consume(role: str, ready: Ready) -> None:
    """Be a Celery worker."""
    from workers.consumers import run_role

    run_role(role, Config.from_env(), ready)


def watcher(ready: Ready) -> None:
    """Follows the pods of steps, and says when they end."""
    import signal
    import threading

    from workers.celery_app import create
    from workers.watcher import run

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run(create(Config.from_env()), stop, ready)


def beat(ready: Ready) -> None:
    """Fires schedules."""
    from workers.beat import run

    run(Config.from_env(), ready)


ROLES: dict[str, Callable[..., None]] = {
    "web": web,
    "worker": worker,
    "recorder": recorder,
    "beat": beat,
    "watcher": watcher,
    "upgrade": upgrade,
}


def preload() -> None:
    """Import what the roles need before they are forked, so that they share it."""
    for name in PRELOADED:
        import_module(name)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="celesta server")
    parser.add_argument("role", choices=sorted(ROLES))
    parser.add_argument("--bind", help="host:port of the web role")
    parser.add_argument("--slots", help="steps at a time of a worker")
    options = parser.parse_args(arguments)
    if options.slots:
        os.environ["CELESTA_SLOTS"] = options.slots
    try:
        ROLES[options.role](lambda: None, **({"bind": options.bind} if options.bind else {}))
    except CelestaError as error:
        sys.stderr.write(f"Error: {error}\n")
        return exit_status(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
