"""The bench of the executors' contract for steps that are pods: launched, and asked for until they have ended."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from app.cluster_config import ClusterConfig
from tests.fixtures.playground import Playground
from tests.fixtures.processes import wait_until
from tests.integration.executors.conftest import Bench
from tests.unit.app.specs import spec, step, task
from workers.executors.kubernetes.executor import KubernetesExecutor

STEPS = 200
"""More than the contract has; each document is of a step of its own."""


@dataclass
class PodBench(Bench):
    """A bench whose documents are attempts that the API knows, as it has to know those of pods."""

    playground: Playground = field(kw_only=True)
    run_id: str = field(kw_only=True)
    seconds: float = 60.0

    def document(self, *arguments: Any, **more: Any) -> dict[str, Any]:
        document = super().document(*arguments, **more)
        name = document["idempotency_key"].partition("/")[2]
        return document | {"run": self.run_id, "project": "default", "idempotency_key": f"{self.run_id}/{name}"}

    def submit(self, document: dict[str, Any]) -> dict[str, Any]:
        told = {name: document[name] for name in ("node", "path", "token", "attempt")}
        self.playground.tell(document["run"], "step.running", worker="host:1", **told)
        found = [self.executor.submit(document)]

        def ended() -> bool:
            found[0] = found[0] or self.executor.reconcile(document)
            return found[0] is not None

        wait_until(ended, self.seconds, f"the end of the pod of {document['path']}")
        assert found[0] is not None
        assert json.loads(self.kept(document, "result.json") or b"null") == found[0]
        return found[0]


@contextmanager
def pod_bench(playground: Playground, cluster: ClusterConfig, seconds: float = 60.0, **more: Any) -> Iterator[PodBench]:
    """Of a run whose steps the playground knows."""
    playground.register(spec([task("a", ())], [step(f"a#{number}" if number else "a") for number in range(STEPS)]))
    run = playground.launch()
    playground.start(run)
    config = replace(playground.config, executor="kubernetes", cluster=cluster, **{"url": playground.url, **more})
    executor = KubernetesExecutor(config)
    executor.name = "kubernetes"
    try:
        yield PodBench(executor, config, playground.store, playground=playground, run_id=run, seconds=seconds)  # type: ignore[arg-type]
    finally:
        executor.close()
