"""What Celesta adds to the time of a pod, and how many pods one worker and one watcher drive.

    python -m benchmarks.pods [--pods 2000] [--chain 40]

Against the tests' API server, with pods that only seem to run (`benchmarks.cluster`). The rate stands beside that of
the bare Python client, which creates and deletes pods of one container and nothing else on the same server, one after
the other. Celesta's own part is from the end of a pod to the request for the next one of a chain: end seen, message,
result read, step counted, next step claimed and launched.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import psutil
from kubernetes import client as kube
from kubernetes import config as kube_config

from benchmarks import servers
from celesta.settings import running_stack

FLOW = """
from celesta import task, workflow

@task
def noop(x: int) -> int:
    return 1

@workflow
def fan(numbers: list[int]) -> list[int]:
    return noop.map(x=numbers)

@workflow
def chain(steps: int = {chain}) -> int:
    value = noop(x=0)
    for _ in range({chain} - 1):
        value = noop(x=value)
    return value
"""
MOST_MEGABYTES, MOST_P95_MS, LEAST_RATIO = 300, 100, 0.5
BARE_PODS = 500
"""Before the fan, and as many after it: a noisy machine is noisy for both."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=int, default=2000)
    parser.add_argument("--chain", type=int, default=40)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="celesta-pods-") as name:
        folder = Path(name)
        flow = folder / "flow.py"
        flow.write_text(FLOW.format(chain=options.chain))
        parts = chain_parts(folder / "chain", flow)
        rate, memory, bare = fan(folder / "fan", flow, options.pods)
    p95 = statistics.quantiles(parts, n=20)[-1] * 1000
    print(f"own part, p50 {statistics.median(parts) * 1000:.0f} ms, p95 {p95:.0f} ms (at most {MOST_P95_MS})")
    ratio = rate / bare
    print(f"{options.pods} pods: {rate:.0f}/s; bare client {bare:.0f}/s; ratio {ratio:.2f} (at least {LEAST_RATIO})")
    for role, megabytes in memory.items():
        print(f"memory of {role}: {megabytes:.0f} MB (at most {MOST_MEGABYTES})")
    met = p95 <= MOST_P95_MS and ratio >= LEAST_RATIO and max(memory.values()) <= MOST_MEGABYTES
    sys.exit(0 if met else "a measure was not met")


def chain_parts(folder: Path, flow: Path) -> list[float]:
    """Seconds from the end of each pod of a chain to the request for the next."""
    with deployment(folder, seconds=0.05) as env:
        servers.celesta(env, "run", str(flow), "chain", "--wait", "--json")
    times = json.loads((folder / "times.json").read_text())
    order = sorted(times["asked"], key=times["asked"].__getitem__)
    return [times["asked"][after] - times["ended"][before] for before, after in pairwise(order)]


def fan(folder: Path, flow: Path, pods: int) -> tuple[float, dict[str, float], float]:
    """Pods a second, the memory of those who drove them, and pods a second of the bare client."""
    with deployment(folder, seconds=1.0) as env:
        numbers = json.dumps(list(range(pods)))
        servers.celesta(env, "run", str(flow), "fan", "--numbers", "[0]", "--wait", "--json")  # everything is loaded
        before = bare_client(Path(env["KUBECONFIG"]), "before")
        began = perf_counter()
        said = servers.celesta(env, "run", str(flow), "fan", "--numbers", numbers, "--wait", "--json")
        seconds = perf_counter() - began
        assert json.loads(said)["steps"]["succeeded"] == pods
        memory = {role: rss_megabytes(Path(env["CELESTA_HOME"]), role) for role in ("worker", "watcher")}
        after = bare_client(Path(env["KUBECONFIG"]), "after")
    return pods / seconds, memory, 2 * BARE_PODS / (before + after)


def bare_client(kubeconfig: Path, name: str) -> float:
    """Seconds that the client takes to create and delete its pods."""
    kube_config.load_kube_config(str(kubeconfig))
    api = kube.CoreV1Api()
    container = {"name": "step", "image": "i", "command": ["python3"]}
    began = perf_counter()
    for number in range(BARE_PODS):
        body: Any = {"metadata": {"name": f"{name}-{number}"}, "spec": {"containers": [container]}}
        api.create_namespaced_pod("celesta-default", body)
    for number in range(BARE_PODS):
        api.delete_namespaced_pod(f"{name}-{number}", "celesta-default")
    return perf_counter() - began


@contextmanager
def deployment(folder: Path, seconds: float) -> Iterator[dict[str, str]]:
    """A stack with one worker process and one watcher, and its cluster; the environment that finds both."""
    folder.mkdir()
    home = folder / "home"
    argv = [sys.executable, "-m", "benchmarks.cluster", str(folder), f"file://{home}/store", str(seconds)]
    server = subprocess.Popen(argv, cwd=servers.ROOT)
    try:
        while not (folder / "kubeconfig").exists():
            sleep(0.05)
        settings = {
            "KUBECONFIG": str(folder / "kubeconfig"),
            "CELESTA_EXECUTOR": "kubernetes",
            "CELESTA_KUBE_RATE": "10000",
            "CELESTA_KEEP_PODS_SECONDS": "5",
            "CELESTA_SLOTS": "1",
        }
        with servers.stack(home, workers=1, **settings):
            yield os.environ | {"CELESTA_HOME": str(home)} | settings
    finally:
        server.terminate()
        server.wait(30)


def rss_megabytes(home: Path, role: str) -> float:
    stack = running_stack(home)
    assert stack is not None
    process = psutil.Process(stack["pids"][role])
    return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)]) / 2**20


if __name__ == "__main__":
    main()
