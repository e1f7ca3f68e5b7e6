"""`python -I -m workers.stack`: the embedded stack from its first check to its last process.

Started by `celesta up` and `celesta demo`. With `--detach` it says on stdout, in one JSON line, that it is ready or why
it is not, and then lives on in the background; otherwise it stays, shows the logs, and ends on Ctrl-C.
"""

import argparse
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from celesta.cli.exits import exit_status
from celesta.errors import CelestaError, StackError
from celesta.runtime.processes import adopt_orphans
from celesta.settings import Settings
from workers.stack import broker
from workers.stack.console import Console
from workers.stack.home import Home
from workers.stack.process import Process, Ready, now
from workers.stack.supervisor import Interrupted, Supervisor, say

ROLES = ("web", "worker", "recorder", "beat")
STOP_ORDER = ("beat", "web", "watcher", "worker", "recorder", "broker")
"""The recorder outlives the workers, so that it writes down what they have done."""
GRACE_SECONDS = {"worker": 8.0}
"""A worker gives its steps a few seconds to end (Celery's soft shutdown), and then needs a moment itself."""
LOOPBACK = "127.0.0.1"


def main() -> int:
    options = parse_options()
    try:
        return run(options)
    except CelestaError as error:
        if options.detach:
            answer({"error": str(error)})
        else:
            say(f"Error: {error}")
        return exit_status(error)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="celesta up")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--detach", action="store_true")
    return parser.parse_args()


def run(options: argparse.Namespace) -> int:
    began = time.monotonic()
    home = Home.open(Settings.from_env().home)
    try:
        listener = listen(options.port)
        url = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        socket_path = configure(home, url, options.workers)
        os.chdir(home.path)
        adopt_orphans()
        console = None if options.detach else Console({role: home.log(role) for role in roles()})
        supervisor = Supervisor(console.pump if console else lambda: None)
        try:
            start(supervisor, home, listener, socket_path)
            announce = partial(tell_clients, supervisor, home, url, now())
            announce()
            say_ready(options, home, url, time.monotonic() - began)
            supervisor.watch(announce, partial(keep_house, home))
        except Interrupted:
            pass
        finally:
            if not options.detach:
                say("Stopping …")
            supervisor.stop(STOP_ORDER)
    finally:
        home.close()
    return 0


def listen(port: int) -> socket.socket:
    """The web role's socket, made here: a taken port is known at once, and a restarted web role keeps its address."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
        listener.listen(512)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StackError(
            f"cannot listen on port {port} ({reason}). Take another with `--port N`, or any with `--port 0`."
        ) from error
    return listener


def configure(home: Home, url: str, workers: int | None) -> Path | None:
    """Set the environment of all roles; returns the socket of the broker to start, or None when one was given."""
    socket_path = None if os.environ.get("CELESTA_REDIS_URL") else home.socket()
    if socket_path:
        os.environ["CELESTA_REDIS_URL"] = f"unix://{socket_path}?db=0"
    os.environ |= {"CELESTA_HOME": str(home.path), "CELESTA_URL": url}
    if workers:
        os.environ["CELESTA_SLOTS"] = str(workers)
    os.environ.setdefault("CELESTA_LOOPBACK_AUTH", "on")
    from app.config import Config

    Config.from_env()
    return socket_path


def roles() -> tuple[str, ...]:
    """The roles of this stack: pods have a watcher as well."""
    from app.config import Config

    return (*ROLES, "watcher") if Config.from_env().executor == "kubernetes" else ROLES


def start(supervisor: Supervisor, home: Home, listener: socket.socket, socket_path: Path | None) -> None:
    """Broker and database first, while the code of the roles is imported; then all roles side by side."""
    brokers = [broker_process(home, socket_path)] if socket_path else []
    supervisor.start(*brokers)
    from workers import server

    server.preload()
    supervisor.complete(Process("migrate", lambda _: server.upgrade(), home.log("migrate")))
    supervisor.until_ready(*brokers)
    processes = [
        Process(role, role_body(role, listener), home.log(role), grace_seconds=GRACE_SECONDS.get(role, 5.0))
        for role in roles()
    ]
    supervisor.start(*processes)
    supervisor.until_ready(*processes)


def broker_process(home: Home, socket_path: Path) -> Process:
    argv = broker.command(home.path / "broker", socket_path)

    def run_broker(_ready: Ready) -> None:
        os.set_inheritable(home.lock, True)
        os.execv(argv[0], argv)  # noqa: S606

    probe, farewell = partial(broker.serves, socket_path), partial(broker.note_rest, socket_path)
    return Process("broker", run_broker, home.log("broker"), probe=probe, farewell=farewell)


def role_body(role: str, listener: socket.socket) -> Callable[[Ready], None]:
    from workers import server

    def body(ready: Ready) -> None:
        if role == "web":
            server.web(ready, bind=f"fd://{listener.fileno()}")
        else:
            listener.close()
            server.ROLES[role](ready)

    return body


def tell_clients(supervisor: Supervisor, home: Home, url: str, started_at: str) -> None:
    home.announce(url, supervisor.pids, started_at)


def keep_house(home: Home) -> bool:
    """Now and then while the stack runs: bound its logs; False when the home is no longer ours, and all has to end."""
    if not home.is_ours:
        say(f"{home.path} was deleted, or another stack has taken it; ending this one")
        return False
    home.rotate_logs()
    return True


def say_ready(options: argparse.Namespace, home: Home, url: str, seconds: float) -> None:
    if not options.detach:
        say(f"Celesta is ready at {url} (after {seconds:.1f} s). Ctrl-C stops it.")
        return
    answer({"url": url, "pid": os.getpid(), "seconds": round(seconds, 3)})
    log = os.open(home.log("supervisor"), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)


def answer(document: dict[str, object]) -> None:
    """One line for the `celesta up --detach` that waits for it."""
    print(json.dumps(document), flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
