"""What a no-op step costs on the process executor: latency of one client, throughput of several.

    python benchmarks/executor.py [--steps 1000] [--clients 2] [--pause 0.004]

A step is whole: its document goes to a forked child, its result is durable in a local store, its answer is back. The
line `store` is what creating one result costs on this disk (two of its flushes are in every step); `pause` lets the
next child be ready before the next step comes, as in a chain whose steps do some work.
"""

import argparse
import io
import os
import resource
import shutil
import statistics
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celesta.store import open_store
from workers.executors.process import ProcessExecutor, start_zygote


@dataclass(frozen=True)
class Config:
    """What the executor wants to know."""

    home: Path
    store_url: str
    s3_endpoint_url: str | None = None
    slots: int = 8
    memory_bytes: int = 2**40


def step_document(config: Config, bundle: str, number: int) -> dict[str, Any]:
    """A step that returns 1."""
    return {
        "step_document": 1,
        "run": f"bench{os.getpid()}",
        "project": "bench",
        "node": str(number),
        "path": f"noop[{number}]",
        "token": "1.1",
        "attempt": 1,
        "idempotency_key": "bench",
        "kind": "python",
        "entrypoint": "noop_bench:noop",
        "bundle": bundle,
        "interface": {"inputs": [], "outputs": [{"name": "result", "type": {"kind": "int"}}]},
        "inputs": {},
        "env": {},
        "secrets": {},
        "resources": {},
        "timeout_seconds": 60.0,
        "image": None,
        "store_url": config.store_url,
        "cache_key": None,
    }


def run_client(config: Config, bundle: str, steps: int, pause: float) -> list[float]:
    """Runs the steps one after another; the milliseconds that each took."""
    executor = ProcessExecutor(config)
    took = []
    for number in range(-10, steps):
        started = time.perf_counter()
        result = executor.submit(step_document(config, bundle, number))
        if number >= 0:
            took.append((time.perf_counter() - started) * 1000)
        if result["status"] != "succeeded":
            raise SystemExit(f"a step failed: {result['error']}")
        time.sleep(pause)
    executor.close()
    return took


def measure_clients(config: Config, bundle: str, clients: int, steps: int) -> float:
    """Steps per second of so many processes at once."""
    started = time.perf_counter()
    children = []
    for _ in range(clients):
        pid = os.fork()
        if pid == 0:
            run_client(config, bundle, steps, 0)
            os._exit(0)
        children.append(pid)
    if any(os.waitpid(pid, 0)[1] for pid in children):
        raise SystemExit("a client failed")
    return clients * steps / (time.perf_counter() - started)


def measure_store(config: Config, steps: int) -> list[float]:
    """The milliseconds that creating a result takes, without any step."""
    store = open_store(config.store_url)
    took = []
    for number in range(steps):
        started = time.perf_counter()
        store.create(f"runs/bench/{number}/1.1/result.json", b"x" * 700)
        took.append((time.perf_counter() - started) * 1000)
    return took


def show(name: str, took: list[float]) -> None:
    """One line of the table."""
    ninetieth = statistics.quantiles(took, n=10)[8]
    print(f"{name:<28} p50 {statistics.median(took):6.2f} ms   p90 {ninetieth:6.2f} ms")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--pause", type=float, default=0.004)
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="celesta-bench-"))
    config = Config(home, f"file://{home}/store")
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as bundle:
        bundle.writestr("noop_bench.py", "def noop():\n    return 1\n")
    digest = open_store(config.store_url).put_blob(data.getvalue())
    zygote = start_zygote(config)
    try:
        show("store", measure_store(config, options.steps))
        show(f"step, {options.pause * 1000:g} ms apart", run_client(config, digest, options.steps // 4, options.pause))
        show("step, back to back", run_client(config, digest, options.steps, 0))
        rate = measure_clients(config, digest, options.clients, options.steps)
        print(f"{f'steps/s, {options.clients} clients':<28} {rate:10.0f}")
        show("store, again", measure_store(config, options.steps))
    finally:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        zygote.close()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        total = 10 + options.steps + options.steps // 4 + options.clients * options.steps
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"{'processor time per step':<28} {cpu / total * 1000:10.2f} ms (zygote and step, not the client)")
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
