"""A cluster for the benchmark of pods: the tests' API server in a process of its own, and pods that only seem to run.

    python -m benchmarks.cluster FOLDER STORE_URL SECONDS

Writes FOLDER/kubeconfig when it serves. A pod "runs" for SECONDS, then its result is in the store and it has ended. At
SIGTERM it writes FOLDER/times.json: when each pod was asked for and when it ended, in seconds.
"""

import asyncio
import hashlib
import json
import signal
import sys
from pathlib import Path
from time import time
from typing import Any

import kmock
import yaml

from celesta.store import open_store
from celesta.store.base import result_key
from tests.fixtures.cluster import kubeconfig
from tests.fixtures.pods_api import PodsApi
from workers.executors.kubernetes.labels import attempt_of

ONE = {"type": "json", "digest": hashlib.sha256(b"1").hexdigest(), "size": 1, "inline": 1}
ENDED = {"name": "step", "image": "i", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}


class Simulated:
    """The API server, and what seems to run on it."""

    def __init__(self, store_url: str, seconds: float) -> None:
        self.api = PodsApi()
        self.api.state.namespaces.add("celesta-default")
        self.api.state.kubelet = self.told
        self.store = open_store(store_url)
        self.seconds = seconds
        self.asked: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def told(self, what: str, pod: dict[str, Any]) -> None:
        key = (pod["metadata"]["namespace"], pod["metadata"]["name"])
        if what == "new":
            self.asked[key[1]] = time()
            task = asyncio.get_running_loop().create_task(self.run(key, pod))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def run(self, key: tuple[str, str], pod: dict[str, Any]) -> None:
        attempt = attempt_of(pod)
        if attempt is None:  # of the bare client
            return
        await asyncio.sleep(self.seconds)
        result = {
            "result_document": 1, "run": attempt.run, "path": attempt.path, "node": attempt.node,
            "token": attempt.token, "status": "succeeded", "outputs": {"result": ONE}, "input_digests": {},
            "error": None, "metrics": [], "report": False, "log_bytes": 0,
            "timings": {"started_ms": 0, "finished_ms": 0}, "worker": "simulated",
        }  # fmt: skip
        place = result_key(attempt.run, attempt.path, attempt.token)
        self.store.create(place, json.dumps(result).encode(), flush=False)
        self.ended[key[1]] = time()
        await self.api.patch(key, {"status": {"phase": "Succeeded", "containerStatuses": [ENDED]}})


async def main(folder: Path, store_url: str, seconds: float) -> None:
    simulated = Simulated(store_url, seconds)
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    async with simulated.api, kmock.Server(simulated.api) as server:
        address = yaml.safe_dump(kubeconfig(f"http://127.0.0.1:{server.port}"))
        (folder / "kubeconfig.new").write_text(address)
        (folder / "kubeconfig.new").rename(folder / "kubeconfig")
        await over.wait()
        await simulated.api.end_streams()
    (folder / "times.json").write_text(json.dumps({"asked": simulated.asked, "ended": simulated.ended}))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
