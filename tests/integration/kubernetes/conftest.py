"""An engine whose steps are pods of a test's cluster, a worker that launches them, and a watcher that follows them."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from app.config import Config
from celesta.store.base import step_prefix
from tests.fixtures.cluster import TestCluster
from tests.fixtures.processes import wait_until
from tests.integration.engine.harness import Planned, World, step, value
from workers.engine import complete, keys, overdue
from workers.engine.external import ended_elsewhere
from workers.executors.chosen import ChosenExecutor
from workers.executors.kubernetes.cluster import Cluster
from workers.executors.kubernetes.executor import KubernetesExecutor
from workers.executors.kubernetes.labels import pod_name
from workers.watcher import Watcher

PREFIX = step_prefix("r1", "one#0", "1.1")


@dataclass
class Pods:
    """What a test of pods needs."""

    world: World
    cluster: TestCluster
    config: Config

    def __post_init__(self) -> None:
        self.executor = KubernetesExecutor(self.config)
        self.executor.name = "kubernetes"
        chosen = ChosenExecutor(self.config)
        chosen._made["kubernetes"] = self.executor
        self.world.executor = chosen  # type: ignore[assignment]
        self.world.worker = self.world.new_worker("here:1")
        self.world.engine.place = lambda name: self.executor
        self.unfinished = ["r1"]
        self.told: list[tuple[str, str, str]] = []
        self.watcher = self.new_watcher()

    def new_watcher(self, **changed: Any) -> Watcher:
        config = replace(self.config.cluster, **changed)
        return Watcher(self.world.engine, config, Cluster(config), self.finish, lambda: (["p"], self.unfinished))

    def finish(self, run: str, attempts: Sequence[tuple[str, str]]) -> bool:
        """What the `finish` message does, without its queue."""
        self.told += [(run, *attempt) for attempt in attempts]
        complete(self.world.engine, run, ended_elsewhere(self.world.engine, run, attempts))
        return True

    def launch(self, *, kind: str = "python", retries: int = 0, **more: Any) -> str:
        """Starts a run of two steps and launches the first; the name of its pod."""
        planned = Planned()
        first = planned.add("one", retries=retries)
        planned.steps[first] |= more
        planned.tasks[0] |= {"kind": kind, "command": ["true"] if kind == "container" else None}
        planned.add("double", x=step(first))
        self.world.start("r1", self.world.plan(planned, result=step(1)))
        self.world.work()
        names = self.cluster.names()
        return names[0] if names else ""

    def launch_many(self, steps: int) -> list[str]:
        """Starts a run of so many steps that need nothing, and launches them; their pods in the order of the steps."""
        planned = Planned()
        for _ in range(steps):
            planned.add("one")
        self.world.start("r1", self.world.plan(planned))
        self.world.drain()
        return [pod_name("r1", str(number), "1.1") for number in range(steps)]

    def write_result(self, step: int = 0, name: str = "result.json") -> None:
        """What the runtime in the pod of a step's first attempt does before it ends."""
        path = f"one#{step}"
        prefix = step_prefix("r1", path, "1.1")
        document = json.loads(self.world.store.get(f"{prefix}step.json") or b"{}")
        result = {
            "result_document": 1, "run": "r1", "path": path, "node": str(step), "token": "1.1", "status": "succeeded",
            "outputs": {"result": value(21)["value"]}, "input_digests": {}, "error": None, "metrics": [],
            "report": False, "log_bytes": 0, "timings": {"started_ms": 1, "finished_ms": 2}, "worker": document["run"],
        }  # fmt: skip
        self.world.store.create(f"{prefix}{name}", json.dumps(result).encode())

    def state(self, node: str = "0") -> str:
        return (self.world.client.hget(keys.states("r1"), node) or b"").decode().split("|")[0]

    def error(self, node: str = "0") -> dict[str, Any]:
        """Of the last attempt at a step that has ended."""
        found = [
            e for e in self.world.events("r1") if e["kind"] in ("step.retry", "step.settled") and e["node"] == node
        ]
        last = found[-1]
        return dict(last["error"] if last["kind"] == "step.retry" else last["outcome"]["error"])

    def until(self, holds: Callable[[], object], watcher: Watcher | None = None) -> None:
        """Lets the watcher tick until something holds."""
        chosen = watcher or self.watcher

        def ticked() -> object:
            chosen.tick()
            return holds()

        wait_until(ticked)

    def silence(self) -> None:
        """Nobody speaks for anything any more, for as long as it takes, and the reconciler looks."""
        for name in self.world.client.zrange(keys.INFLIGHT, 0, -1):
            self.world.client.zadd(keys.INFLIGHT, {name: 1})
        overdue.sweep(self.world.engine, lambda: 0, lambda run: None, lambda *_: None)


@pytest.fixture
def pods(redis_url: str, tmp_path: Path, cluster: TestCluster) -> Iterator[Pods]:
    world = World(redis_url, tmp_path / "store", {})
    config = Config(
        home=tmp_path,
        database_url="sqlite://",
        redis_url=redis_url,
        broker_url=redis_url,
        store_url=f"file://{tmp_path}/store",
        url="http://127.0.0.1:1",
        executor="kubernetes",
        secret_key="k" * 32,
        cluster=cluster.config,
    )
    made = Pods(world, cluster, config)
    yield made
    made.watcher.stand_down()
    world.client.close()
