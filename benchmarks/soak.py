"""Runs without end while processes are killed: every run has to equal its oracle, and nothing may pile up.

    python -m benchmarks.soak [--minutes 5] [--kill-every 15] [--seed N]

Random DAGs run two at a time on a stack of their own. Every few seconds one process of the stack gets SIGKILL. At the
end it prints what happened and what is left in Redis; it exits 1 when a run was wrong or did not end.
"""

import argparse
import os
import signal
import sys
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from random import Random
from time import monotonic, sleep
from uuid import uuid4

import psutil
import redis

from benchmarks import servers
from celesta.client import Client
from celesta.client.caller import Document
from celesta.errors import ServerUnreachable
from celesta.settings import supervisor_pid
from tests.e2e.workflows import dags

RUN_SECONDS = 120.0
"""No run of these takes a second undisturbed; one that takes longer than this is lost."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--kill-every", type=float, default=15.0, metavar="SECONDS", help="0: kill nothing")
    parser.add_argument("--seed", type=int, default=Random().randrange(10**6), help="of inputs and victims")
    options = parser.parse_args()
    print(f"seed {options.seed}")
    with tempfile.TemporaryDirectory(prefix="celesta-soak-") as folder:
        home = Path(folder, "home")
        with servers.broker(Path(folder)) as socket:
            environ = {"CELESTA_REDIS_URL": f"unix://{socket}?db=0", "CELESTA_LEASE_SECONDS": "3"}
            with servers.stack(home, **environ):
                counts = soak(home, options)
                left = keys_left(socket)
    print("\n".join(f"{count:6}  {what}" for what, count in sorted(counts.items())))
    print("\n".join(f"{count:6}  keys like {kind}" for kind, count in sorted(left.items())))
    return 1 if counts["wrong"] or not counts["right"] else 0


def soak(home: Path, options: argparse.Namespace) -> Counter[str]:
    counts: Counter[str] = Counter()
    deadline = monotonic() + 60 * options.minutes
    os.environ["CELESTA_HOME"] = str(home)
    servers.celesta(dict(os.environ), "register", dags.__file__)
    over = threading.Event()
    with ThreadPoolExecutor(3) as pool:
        if options.kill_every:
            pool.submit(kill_some, home, Random(options.seed), options.kill_every, over, counts)
        runners = [pool.submit(run_some, name, Random(f"{options.seed}{name}"), deadline, counts) for name in NAMES]
        try:
            for runner in runners:
                runner.result()
        finally:
            over.set()
    return counts


NAMES = ("alpha", "beta")


def run_some(name: str, random: Random, deadline: float, counts: Counter[str]) -> None:
    while monotonic() < deadline:
        seed = random.randrange(1000)
        with Client.from_env() as client:
            launched = launch(client, name, seed)
            run = client.wait(launched["run_id"], timeout=RUN_SECONDS)
        if run["outputs"] == {"result": getattr(dags, name)(seed=seed)}:
            counts["right"] += 1
        else:
            counts["wrong"] += 1
            print(f"{name}(seed={seed}) as run {run['run_id']}: {run['status']}, {run['outputs']}, {run['error']}")


def launch(client: Client, name: str, seed: int) -> Document:
    """Ask until the server answers: the same key makes the same run of however many requests."""
    key = uuid4().hex
    while True:
        try:
            return client.launch(name, {"seed": seed}, idempotency_key=key)
        except ServerUnreachable:
            sleep(0.2)


def kill_some(home: Path, random: Random, every: float, over: threading.Event, counts: Counter[str]) -> None:
    """Kill any process of the stack but its supervisor, which is what starts them again."""
    while not over.wait(every):
        victims = psutil.Process(supervisor_pid(home)).children(recursive=True)
        with suppress(ProcessLookupError):
            os.kill(random.choice(victims).pid, signal.SIGKILL)
            counts["killed"] += 1


def keys_left(socket: Path) -> Counter[str]:
    """What is still in Redis, by the start of the names: a run that is over has to leave nothing."""
    with redis.Redis(unix_socket_path=str(socket), decode_responses=True) as client:
        return Counter(":".join(key.split(":")[:2]) for key in client.scan_iter())


if __name__ == "__main__":
    sys.exit(main())
