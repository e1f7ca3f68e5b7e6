"""What an executor is, and how one is found.

Called by the engine's step task and the reconciler. An executor takes a step document and sees to it that its result
document becomes durable in the store; what the result means for the run is the engine's business, not its own.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from celesta.errors import ConfigError

Document = dict[str, Any]
# Takes a piece of a running attempt's log: `on_log(run, node, token, data)`.
OnLog = Callable[[str, str, str, bytes], None]
# Takes what a running attempt has measured since the last time: `on_metrics(run, node, token, metrics)`.
OnMetrics = Callable[[str, str, str, list[Document]], None]

KNOWN = {
    "kubernetes": "workers.executors.kubernetes.executor:KubernetesExecutor",
    "process": "workers.executors.process:ProcessExecutor",
    "docker": "workers.executors.docker.executor:DockerExecutor",
}


class Later(Exception):
    """Raised by `submit`: nothing was launched, and the attempt is to be submitted again after so many seconds."""

    def __init__(self, seconds: float, why: str) -> None:
        super().__init__(why)
        self.seconds = seconds


class ExecutorConfig(Protocol):
    """What executors read of the configuration; `app.config.Config` is one."""

    @property
    def home(self) -> Path: ...
    @property
    def executor(self) -> str: ...
    @property
    def slots(self) -> int: ...
    @property
    def memory_bytes(self) -> int: ...
    @property
    def secrets(self) -> Mapping[str, Mapping[str, str]]: ...
    @property
    def store_url(self) -> str: ...
    @property
    def s3_endpoint_url(self) -> str | None: ...


@dataclass(frozen=True)
class Capabilities:
    """What an executor can do, for the compiler's checks and the engine's choices."""

    images: bool = False
    """Runs steps in a container image of their own."""
    containers: bool = False
    """Runs tasks that are a container command."""
    asynchronous: bool = False
    """`submit` returns None and the work ends elsewhere; `reconcile` finds it."""
    live_logs: bool = False
    """Hands out the log while the attempt runs."""


class Executor:
    """Runs attempts. The hooks do nothing unless an executor has something to do there."""

    capabilities: ClassVar[Capabilities] = Capabilities()
    name: str = ""
    """The known name or dotted path by which it was found."""

    def __init__(
        self, config: ExecutorConfig, on_log: OnLog | None = None, on_metrics: OnMetrics | None = None
    ) -> None:
        self.config = config
        self.on_log = on_log
        self.on_metrics = on_metrics

    def submit(self, document: Document) -> Document | None:
        """Runs the attempt that this step document describes, and returns its result document, durable in the store.

        None: the work has been launched and ends elsewhere. What goes wrong is a result document as well, of kind
        `system` where neither the task nor its resources are to blame (and it may not be durable when the store does
        not answer); a cancelled attempt has an error of type `Cancelled` and leaves no result in the store.
        """
        raise NotImplementedError

    def cancel(self, run: str, node: str, token: str) -> bool:
        """Ends this attempt and everything that it started. False: it does not run here. From any thread."""
        return False

    def logs(self, run: str, node: str, token: str, offset: int = 0) -> bytes | None:
        """What a running attempt has written so far, from `offset` on. None: it does not run here."""
        return None

    def reconcile(self, attempt: Document) -> Document | None:
        """What became of launched work of which nobody speaks any more; None: it goes on.

        `attempt` names project, run, node, path and token. Work that is certainly gone has a result of kind `system`.
        Raises `CelestaError` when that cannot be told now.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Gives back what the executor holds; attempts that run are ended."""


def get(
    name: str, config: ExecutorConfig, on_log: OnLog | None = None, on_metrics: OnMetrics | None = None
) -> Executor:
    """The executor of a known name or a dotted path (`package.module:Class`), imported when it is asked for."""
    path = KNOWN.get(name, name)
    module, _, attribute = path.partition(":")
    if not attribute:
        raise ConfigError(
            f"there is no executor {name!r}; known are {', '.join(sorted(KNOWN))}, and any other goes by its dotted "
            "path, package.module:Class"
        )
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"executor {name!r} cannot be loaded: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Executor)):
        raise ConfigError(f"executor {name!r} is not a subclass of workers.executors.Executor")
    executor = found(config, on_log, on_metrics)
    executor.name = name
    return executor
