"""One container of the docker executor, from its start to its end: its log, its time-out, its cancellation."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Mapping
from typing import Any

import requests
from docker.errors import DockerException

from celesta.runtime import verdicts
from celesta.runtime.leave import create_result, keep_log, log_size
from celesta.runtime.masking import Stream, mask_of
from celesta.store import Store, prefix_of
from workers.executors.base import Document, OnLog

STOP_SECONDS = 1
"""Between the request to end and the kill."""
LATE_SECONDS = 30.0
"""A Python task measures its time-out itself, and says more about it; this is for a program that hangs."""
LIVE_LOG_AFTER_SECONDS = 1.0
WAIT_SECONDS = 10.0
LOG_SECONDS = 5.0

Key = tuple[str, str, str]


class Running:
    """An attempt at a step in a container. `cancel` and `read_log` come from any thread."""

    def __init__(self, document: Document, on_log: OnLog | None) -> None:
        self.document = document
        self.key: Key = (document["run"], document["node"], document["token"])
        self.error: Document | None = None
        """Why the container was ended from here."""
        self.started_ms = time.time_ns() // 1_000_000
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by `close`
        self.log = self._file.fileno()
        self._on_log = on_log
        self._shown = Stream(None)
        self._sent_bytes = 0
        self._lock = threading.Lock()
        self._container: Any = None

    def hide(self, secrets: Mapping[str, str]) -> None:
        """Lets none of these values into the log."""
        self._shown = Stream(mask_of(secrets))

    def cancel(self) -> None:
        """Has the container end soon."""
        self._end(verdicts.cancelled())

    def read_log(self, offset: int) -> bytes:
        """What the step has written from `offset` on."""
        with contextlib.suppress(OSError):
            return os.pread(self.log, 1 << 20, offset)
        return b""

    def close(self) -> None:
        self._file.close()

    def follow(self, container: Any) -> Document:
        """Starts the container and waits for its end; how it ended, as the engine tells it."""
        with self._lock:
            if self.error is not None:
                return {"ExitCode": 0}
            self.started_ms = time.time_ns() // 1_000_000
            container.start()
            self._container = container
        reader = threading.Thread(target=self._read, args=(container, time.monotonic()), daemon=True)
        reader.start()
        self._wait(container)
        reader.join(LOG_SECONDS)
        container.reload()
        return dict(container.attrs["State"])

    def keep(self, result: Document, store: Store) -> Document:
        """Makes the result of a container task durable, with what its command wrote."""
        document = self.document
        result["log_bytes"] = log_size(self.log)
        keep_log(result, store, prefix_of(document), self.log)
        return create_result(result, store)

    def _wait(self, container: Any) -> None:
        timeout = self.document.get("timeout_seconds")
        late = 0.0 if self.document["kind"] == "container" else LATE_SECONDS
        deadline = None if timeout is None else time.monotonic() + timeout + late
        while True:
            left = WAIT_SECONDS if deadline is None else min(WAIT_SECONDS, deadline - time.monotonic())
            if left <= 0:
                self._end(verdicts.timed_out(timeout or 0))
                left, deadline = WAIT_SECONDS, None
            try:
                container.wait(timeout=left)
            except requests.RequestException as error:
                if not _is_timeout(error):
                    raise
            else:
                return

    def _end(self, error: Document) -> None:
        with self._lock:
            self.error = self.error or error
            container = self._container
        if container is not None:
            with contextlib.suppress(DockerException, requests.RequestException):  # It has ended by itself.
                container.stop(timeout=STOP_SECONDS)

    def _read(self, container: Any, started: float) -> None:
        """The container's stdout and stderr, as they come."""
        with contextlib.suppress(DockerException, requests.RequestException, OSError, ValueError):
            for piece in container.logs(stream=True, follow=True):
                os.write(self.log, self._shown.feed(piece))
                if self._on_log is not None and time.monotonic() - started > LIVE_LOG_AFTER_SECONDS:
                    self._send()
            os.write(self.log, self._shown.end())

    def _send(self) -> None:
        try:
            while data := os.pread(self.log, 1 << 16, self._sent_bytes):
                self._sent_bytes += len(data)
                self._on_log(*self.key, data)  # type: ignore[misc]
        except Exception:  # The live log is a convenience; whoever takes it must not be able to break the step.
            self._on_log = None


def _is_timeout(error: requests.RequestException) -> bool:
    """`requests` tells a read that took too long in one of two ways."""
    return isinstance(error, requests.Timeout) or "timed out" in str(error).lower()
