"""How fast and how small Celesta is, with stock Celery measured beside it.

    python -m benchmarks.overhead [--rounds 5] [--write]

Both sides share one broker and have two processes for their tasks, and they take turns (A B A B …) in the same run, so
that a noisy machine is noisy for both. Celesta runs with everything on: every step is looked up in the cache, run in a
process of its own, stored, counted, recorded in the database and indexed for the next run.
"""

import argparse
import os
import statistics
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from time import perf_counter, sleep
from uuid import uuid4

import redis

from app.dispatch import QUEUE_STEPS
from benchmarks import servers, workflows
from benchmarks.ends import ends
from benchmarks.report import Report
from celesta.client import Client
from celesta.client.caller import Document
from celesta.spec import workflow_spec

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
IDLE_SECONDS = 5.0
RUN_SECONDS = 600.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each side has its turn (default 5)")
    parser.add_argument("--write", action="store_true", help=f"write the tables to {PAGE.name}")
    options = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory(prefix="celesta-bench-") as folder:
        try:
            measure_embedded(report, Path(folder, "embedded"))
            with both_sides(Path(folder)) as (client, socket):
                beside_stock(report, client, options.rounds)
                fibonacci(report, client, options.rounds)
                large(report, client, socket)
                ends(report, client, Path(folder), options.rounds)
        finally:
            print(report.tables())
    if options.write:
        report.write(PAGE, sys.argv[1:])


def measure_embedded(report: Report, home: Path) -> None:
    """The stack as `celesta up` starts it, a broker of its own included."""
    with servers.stack(home):
        pass  # the first start makes the database
    with servers.stack(home) as seconds:
        sleep(IDLE_SECONDS)
        memory = servers.pss_megabytes(home)
    report.add("embedded stack ready", [seconds], "s", "≤ 5 s")
    report.add("embedded stack idle, sum of PSS", [memory], "MB", "< 400 MB", digits=0)


@contextmanager
def both_sides(folder: Path) -> Iterator[tuple[Client, Path]]:
    """Stock Celery and Celesta, ready and warm on one broker."""
    with ExitStack() as exits:
        socket = exits.enter_context(servers.broker(folder))
        stock_url = f"redis+socket://{socket}?virtual_host=1"
        exits.enter_context(servers.stock_worker(stock_url, folder / "stock.log"))
        os.environ["BENCHMARK_CELERY_URL"] = stock_url
        home = folder / "home"
        redis_url = f"unix://{socket}?db=0"
        exits.enter_context(servers.stack(home, CELESTA_REDIS_URL=redis_url))
        os.environ["CELESTA_HOME"] = str(home)
        client = exits.enter_context(Client.from_env())
        for workflow in (workflows.fan, workflows.chain, workflows.fibonacci):
            client.register(*workflow_spec(workflow))
        yield client, socket


def beside_stock(report: Report, client: Client, rounds: int) -> None:
    from benchmarks import stock  # here, since it reads its broker's address when it is imported

    pairs: dict[str, tuple[int, Callable[[], float], Callable[[], float]]] = {
        "fan of 1,000": (workflows.FAN, lambda: seconds(client, "fan"), lambda: stock.fan_seconds(workflows.FAN)),
        "chain of 500": (
            workflows.CHAIN,
            lambda: seconds(client, "chain"),
            lambda: stock.chain_seconds(workflows.CHAIN),
        ),
    }
    for _, ours, theirs in pairs.values():  # a first turn that does not count: imports, connections, zygotes
        ours(), theirs()
    measured = {what: ([], []) for what in pairs}
    for _ in range(rounds):
        for what, (steps, ours, theirs) in pairs.items():
            measured[what][0].append(steps / ours())
            measured[what][1].append(steps / theirs())
    for what, (ours, theirs) in measured.items():
        report.compare(what, ours, theirs)


def fibonacci(report: Report, client: Client, rounds: int) -> None:
    """The chain of Windmill's comparison, and what passes between the end of a step and the start of the next."""
    taken, gaps = [], []
    for _ in range(rounds):
        run, took = finished(client, "fibonacci")
        taken.append(took)
        steps = sorted(client.steps(run["run_id"]), key=lambda step: step["started_at"])
        gaps += [1000 * (at(b["started_at"]) - at(a["finished_at"])) for a, b in pairwise(steps)]
    report.add("chain of 40 fibo(10), submission to end", taken, "s", "≤ 0.6 s")
    report.add("its transition from a step to the next, p50", [statistics.median(gaps)], "ms", "≤ 10 ms", digits=1)


def large(report: Report, client: Client, socket: Path) -> None:
    """10,000 steps: registered, launched, run, and run again from the cache."""
    started = perf_counter()
    spec, blobs = workflow_spec(workflows.large)
    traced = perf_counter() - started
    started = perf_counter()
    client.register(spec, blobs)
    registered = perf_counter() - started
    salt = uuid4().hex
    with queue_watched(socket) as messages:
        launched, took = finished(client, "large", salt)
    assert launched["steps"]["succeeded"] == launched["steps"]["total"], launched["steps"]
    started = perf_counter()
    run = client.launch("large", {"salt": salt})
    accepted = perf_counter() - started
    again = client.wait(run["run_id"], timeout=RUN_SECONDS)
    rerun = perf_counter() - started
    assert again["steps"]["cached"] == again["steps"]["total"], again["steps"]
    report.add("10,000 steps: traced", [traced], "s", "")
    report.add("10,000 steps: registered", [registered], "s", "≤ 1 s")
    report.add("10,000 steps: launch accepted", [accepted], "s", "≤ 1 s")
    report.add("10,000 steps: computed", [again["steps"]["total"] / took], "steps/s", "", digits=0)
    report.add("10,000 steps: all from the cache", [rerun], "s", "≤ 5 s")
    report.add("largest message", [max(map(len, messages))], "bytes", "≤ 1,200", digits=0)


def seconds(client: Client, workflow: str) -> float:
    return finished(client, workflow)[1]


def finished(client: Client, workflow: str, salt: str | None = None) -> tuple[Document, float]:
    """Launch, wait for the end to be recorded, and time both together as a client sees it."""
    started = perf_counter()
    launched = client.launch(workflow, {"salt": salt or uuid4().hex})
    run = client.wait(launched["run_id"], timeout=RUN_SECONDS)
    took = perf_counter() - started
    if run["status"] != "succeeded":
        sys.exit(f"the run of {workflow} {run['status']}: {run['error']} {run['steps']}")
    return run, took


@contextmanager
def queue_watched(socket: Path) -> Iterator[set[bytes]]:
    """Collects messages of the queue of steps while they wait there."""
    seen: set[bytes] = set()
    over = threading.Event()

    def watch() -> None:
        with redis.Redis(unix_socket_path=str(socket)) as broker:
            while not over.wait(0.05):
                seen.update(broker.lrange(QUEUE_STEPS, 0, 20))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def at(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


if __name__ == "__main__":
    main()
