"""One run under one fault: started, disturbed, awaited, and held against what an undisturbed run would have left.

What every fault has to leave true: the outputs are those of an undisturbed run; each step counts once, and each body of
a chord ran as often as the record says; a step began again only where the record shows an attempt that was lost; and
nothing is left in Redis or among the processes.
"""

import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import redis
from sqlalchemy import create_engine, text

from celesta.client import Client
from celesta.settings import supervisor_pid
from tests.e2e.faults import ledger
from tests.fixtures.processes import wait_until
from tests.fixtures.stack import Stack

LEASE_SECONDS = 2
ITEM_SECONDS = 0.02
SHORT_SECONDS = 0.005
"""For the large map, of which there is always enough to do."""
FAULT = Callable[[], object]


def run_seconds(items: int) -> float:
    """How long a disturbed run of so many items may take before it counts as stuck: many times what it needs."""
    return 300.0 + items / 10


class Trial:
    """A stack, and the run that is disturbed on it."""

    def __init__(self, stack: Stack, items: int, folder: Path, redis_url: str | None = None) -> None:
        self.stack = stack
        self.items = items
        self.ledger = folder / "ledger"
        self.redis_url = redis_url or f"unix://{stack.home}/run/redis.sock?db=0"
        self.database_url = stack.environ.get("CELESTA_DATABASE_URL", f"sqlite:///{stack.home}/celesta.db")
        self.run_id = ""
        stack.cli("register", ledger.__file__)

    # The run

    def launch(self, seconds: float = ITEM_SECONDS) -> "Trial":
        inputs = {"count": self.items, "seconds": seconds, "ledger": str(self.ledger)}
        with Client(self.stack.url) as client:
            self.run_id = client.launch("counted", inputs)["run_id"]
        wait_until(lambda: self.began() > 2, 60, "the start of the first items")
        return self

    def somewhere(self) -> None:
        """Waits until the run is at a random place in its first three quarters."""
        place = random.randrange(2, self.items * 3 // 4)
        print(f"The fault comes when {place} of {self.items} items have begun.")
        wait_until(lambda: self.began() > place, run_seconds(self.items), f"the start of item {place}")

    def began(self) -> int:
        """How often a step began so far."""
        return len(self.ledger.read_text().splitlines()) if self.ledger.exists() else 0

    def wait(self) -> dict[str, Any]:
        with Client(self.stack.url) as client:
            return client.wait(self.run_id, timeout=run_seconds(self.items))

    def disturbed(self, fault: FAULT, every: float) -> int:
        """Awaits the run, and brings about the fault every so many seconds until then; how often."""
        times = 0
        with ThreadPoolExecutor(1) as pool:
            ended = pool.submit(self.wait)  # It ends in any case: `wait` has a time of its own, and may fail.
            while not wait([ended], timeout=every).done:
                fault()
                times += 1
        ended.result()
        return times

    # The stack

    def processes(self, name: str) -> list[psutil.Process]:
        """Processes of the stack by the beginning of their name, e.g. `celesta-worker`."""
        below = psutil.Process(supervisor_pid(self.stack.home)).children(recursive=True)
        return [process for process in below if _name(process).startswith(name)]

    def kill_one(self, name: str) -> None:
        """SIGKILL for any process of that name: of the workers, a child or the parent of all."""
        with suppress(ProcessLookupError, IndexError):
            os.kill(random.choice(self.processes(name)).pid, signal.SIGKILL)

    def redis(self) -> "redis.Redis[bytes]":
        return redis.Redis.from_url(self.redis_url)

    # The verdict

    def check(self) -> Counter[str]:
        """Every promise; how many attempts the record shows by their state."""
        run = self.wait()
        assert run["status"] == "succeeded", run["error"]
        assert run["outputs"] == {"result": ledger.expected(self.items)}
        counts = run["steps"]
        assert counts["succeeded"] == counts["total"] == self.items + 3, counts
        states = self._attempts()
        began = Counter(line.split()[0] for line in self.ledger.read_text().splitlines())
        assert set(began) == {path for path in states if not path.startswith("numbers")}
        for path, times in began.items():
            assert times <= sum(states[path].values()), f"{path} began {times} times: {states[path]}"
            repeated = states[path]["lost"] + states[path]["failed"]  # Failed: its result could not be stored.
            assert times <= 1 + repeated, f"{path} began {times} times and lost {repeated}: {states[path]}"
        self._nothing_is_left()
        return sum(states.values(), Counter())

    def _attempts(self) -> dict[str, Counter[str]]:
        """Attempts of each step by path and state."""
        query = text(
            "SELECT step.path, attempt.state FROM attempt JOIN step "
            "ON step.run_id = attempt.run_id AND step.node = attempt.node WHERE attempt.run_id = :run"
        )
        engine = create_engine(self.database_url)
        found: dict[str, Counter[str]] = {}
        with engine.connect() as connection:
            for path, state in connection.execute(query, {"run": self.run_id}):
                found.setdefault(path, Counter())[state] += 1
        engine.dispose()
        return found

    def _nothing_is_left(self) -> None:
        with self.redis() as client:
            wait_until(lambda: not self._keys(client), 30, "the end of the run's keys")
        wait_until(lambda: not self.processes("celesta-step"), 30, "the end of the steps' processes")

    def _keys(self, client: "redis.Redis[bytes]") -> list[bytes]:
        members = [name for name in client.zrange("celesta:{p0}:inflight", 0, -1) if self.run_id.encode() in name]
        return members + [key for key in client.scan_iter(count=1000) if self.run_id.encode() in key]


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""
