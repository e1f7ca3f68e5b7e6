"""The docker executor: each attempt is a container of Docker or Podman on the worker's host.

Speaks to the engine's socket through the `docker` package, which Podman understands as well. The container mounts the
folder of its attempt at `/celesta` (`staging`) and gets no token, no key and no other part of the store. `submit` waits
for the container's end; one that a dead worker left behind is removed by the next.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any, ClassVar

import requests
from docker.errors import APIError, DockerException

from app.config import Config
from celesta.command import FOLDER, filled
from celesta.errors import CelestaError, StoreError
from celesta.runtime import verdicts
from celesta.runtime.enter import variables
from celesta.runtime.failures import error_document, kind_of, plain_error
from celesta.store import open_store
from workers.executors.base import Capabilities, Document, Executor, OnLog, OnMetrics
from workers.executors.containers import value_texts
from workers.executors.docker import engine
from workers.executors.docker.running import Key, Running
from workers.executors.docker.staging import RUNTIME, Staged
from workers.executors.secrets import secrets_of
from workers.executors.slots import Ask


class DockerExecutor(Executor):
    """Runs attempts in containers of this host."""

    capabilities: ClassVar[Capabilities] = Capabilities(images=True, containers=True, live_logs=True)

    def __init__(self, config: Config, on_log: OnLog | None = None, on_metrics: OnMetrics | None = None) -> None:
        super().__init__(config, on_log, on_metrics)
        self.config: Config = config
        self._store = open_store(config.store_url, config.s3_endpoint_url)
        self._running: dict[Key, Running] = {}
        self._pid = 0
        self._client: Any = None

    def submit(self, document: Document) -> Document:
        """Runs the attempt; its result document (see the base class)."""
        running = Running(document, self.on_log)
        self._running[running.key] = running
        started = time.monotonic()
        try:
            with Staged(document, self._store, Path(self.config.home) / "containers") as staged:
                return self._run(running, staged, started)
        except CelestaError as error:
            return self._fail(running, error_document(error, kind_of(error)), started)
        except (DockerException, requests.RequestException) as error:
            return self._fail(running, engine.trouble(error, document), started)
        finally:
            running.close()
            self._running.pop(running.key, None)

    def cancel(self, run: str, node: str, token: str) -> bool:
        """Ends this attempt and everything that it started."""
        running = self._running.get((run, node, token))
        if running is None:
            return False
        running.cancel()
        return True

    def logs(self, run: str, node: str, token: str, offset: int = 0) -> bytes | None:
        """What a running attempt has written so far."""
        running = self._running.get((run, node, token))
        return None if running is None else running.read_log(offset)

    def close(self) -> None:
        """Ends what runs."""
        for running in list(self._running.values()):
            running.cancel()
        if self._client is not None:
            self._client.close()

    def _run(self, running: Running, staged: Staged, started: float) -> Document:
        client = self._connected()
        staged.lay()
        given = secrets_of(running.document, self.config)
        running.hide(given)
        container = client.containers.create(**self._options(client, running.document, staged, given))
        try:
            ended = running.follow(container)
            return self._conclude(running, staged, ended, started)
        finally:
            with contextlib.suppress(APIError):
                container.remove(force=True, v=True)

    def _conclude(self, running: Running, staged: Staged, ended: Document, started: float) -> Document:
        """The result that counts, of what the container left and how it ended."""
        python = running.document["kind"] != "container"
        result = None
        if running.error is None and (python or ended["ExitCode"] == 0):
            result = staged.keep(running.started_ms)
        if result is not None and not python:
            return running.keep(result, self._store)
        if python and (result is None or result["status"] != "succeeded"):
            with contextlib.suppress(StoreError):  # A checkpoint saves time only.
                staged.keep_checkpoint()
        if result is not None:
            return result
        return self._fail(running, running.error or _died(ended, running.document["kind"]), started)

    def _fail(self, running: Running, error: Document, started: float) -> Document:
        return verdicts.conclude(running.document, self._store, error, running.log, started, engine.owner())

    def _options(self, client: Any, document: Document, staged: Staged, given: dict[str, str]) -> dict[str, Any]:
        """The container, in the words of the engine's API, with the secrets that the step is given."""
        image = document.get("image") or self.config.step_image or self.config.runtime_image
        engine.require_image(client, image)
        resources = document.get("resources") or {}
        memory = Ask.of(resources, Ask(0, self.config.memory_bytes)).memory_bytes
        volumes = {str(staged.folder): {"bind": FOLDER, "mode": "rw"}}
        env = dict(document.get("env") or {})
        if document["kind"] != "container":
            volumes[str(RUNTIME)] = {"bind": f"{FOLDER}/runtime/celesta", "mode": "ro"}
            command = ["python3", "-P", "-m", "celesta.runtime", f"{FOLDER}/step.json"]
            home = {"HOME": f"{FOLDER}/home", "CELESTA_HOME": f"{FOLDER}/home", "CELESTA_STEP_FOLDER": FOLDER}
            # The step looks for its secrets where its document says.
            env |= {document["secrets"][name]["env"]: value for name, value in given.items()}
            env = home | env | {"PYTHONPATH": f"{FOLDER}/runtime", "PYTHONDONTWRITEBYTECODE": "1"}
        else:
            command = filled(document["command"], value_texts(document, self._store))
            env |= variables(document) | given
        return {
            "image": image,
            "entrypoint": command[:1],
            "command": command[1:],
            "environment": env,
            "volumes": volumes,
            "network_mode": self.config.docker_network,
            "user": f"{os.getuid()}:{os.getgid()}",
            "labels": {engine.OWNER: engine.owner()},
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            **({"mem_limit": memory} if memory else {}),
            **({"device_requests": [engine.devices(int(resources["gpu"]))]} if resources.get("gpu") else {}),
        }

    def _connected(self) -> Any:
        """The client of this process. Removes, once, what dead workers of this host left behind."""
        if self._client is None or self._pid != os.getpid():
            self._client, self._pid = engine.connect(self.config.docker_host), os.getpid()
            engine.remove_orphans(self._client)
        return self._client


def _died(ended: Document, kind: str) -> Document:
    """The error of a container that left no result of its own."""
    code = int(ended["ExitCode"])
    if kind == "container" and 0 < code <= 128:
        return plain_error("ProcessExited", f"the command ended with status {code}", "user")
    status = code - 128 if code > 128 else code << 8
    return verdicts.died({"status": status, "out_of_memory": bool(ended.get("OOMKilled"))}, -1)
