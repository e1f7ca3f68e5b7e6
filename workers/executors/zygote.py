"""The worker's side of the zygote: starts the base server, keeps it running, ends it.

Called once in the worker's main process before it forks (`start_zygote`); its children inherit the handle, and find it
with `running_zygote`. The base server lives as long as the process that started it, whatever ends that one.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
import time
import weakref

from celesta.runtime.enter import clean_environment
from celesta.runtime.zygote.wire import message_pair
from workers.executors.base import ExecutorConfig
from workers.executors.orphans import VARIABLE, Mark, end_orphans
from workers.executors.secrets import variables_with_secrets

# Links the interpreter's libraries when they load: else each forked process pays for every call that it links.
_FASTER = {"LD_BIND_NOW": "1"}
_RESTART_AFTER_SECONDS = 0.1
_STABLE_SECONDS = 5.0
_END_WITHIN_SECONDS = 5.0


class Zygote:
    """A base server, started again when it dies."""

    def __init__(self, config: ExecutorConfig) -> None:
        self._config = config
        self.owner = os.getpid()
        """The worker's main process."""
        self._mark: Mark | None = None
        self._closing = threading.Event()
        self._starting = threading.Lock()
        # Both ends stay open here: clients never see a base server go, what they send waits for the next one.
        self.clients, self._served = message_pair()
        self._process, self._control = self._start()
        threading.Thread(target=self._keep_running, name="zygote", daemon=True).start()
        _all.add(self)

    @property
    def pid(self) -> int:
        """The process id of the base server."""
        return self._process.pid

    def close(self) -> None:
        """Ends the base server and everything below it."""
        if os.getpid() != self.owner or self._closing.is_set():
            return
        with self._starting:
            self._closing.set()
            os.close(self._control)
        try:
            self._process.wait(_END_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.clients.close()
        self._served.close()

    def forked(self) -> None:
        """In a fork of the owner: lets go of the control pipe, so that it ends when the owner does."""
        if not self._closing.is_set():
            self._closing.set()
            os.close(self._control)

    def _start(self) -> tuple[subprocess.Popen[bytes], int]:
        mark = Mark.of(self.owner, next(_incarnations))
        end_orphans(mark, before=self._mark)
        self._mark = mark
        read, write = os.pipe()
        home = os.path.realpath(self._config.home)
        settings = {
            "control": read,
            "clients": self._served.fileno(),
            "scratch": f"{home}/scratch",
            "checkpoints": f"{home}/checkpoints",
            "store_url": self._config.store_url,
            "endpoint_url": self._config.s3_endpoint_url,
        }
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "celesta.runtime.zygote", json.dumps(settings)],
                stdin=subprocess.DEVNULL,
                env={**self._environment(), **_FASTER, VARIABLE: str(mark)},
                pass_fds=(read, self._served.fileno()),
                start_new_session=True,  # A Ctrl-C in the worker's terminal lets steps finish.
            )
        finally:
            os.close(read)
        return process, write

    def _environment(self) -> dict[str, str]:
        return clean_environment(os.environ, variables_with_secrets(self._config))

    def _keep_running(self) -> None:
        patience = _RESTART_AFTER_SECONDS
        while True:
            since = time.monotonic()
            self._process.wait()
            lived = time.monotonic() - since
            patience = _RESTART_AFTER_SECONDS if lived > _STABLE_SECONDS else min(2 * patience, _STABLE_SECONDS)
            self._closing.wait(patience)
            with self._starting, contextlib.suppress(OSError):  # No process to be had: the next round tries again.
                if self._closing.is_set():
                    return
                (self._process, self._control), ended = self._start(), self._control
                os.close(ended)


_incarnations = itertools.count(1)
_running: Zygote | None = None
_all: weakref.WeakSet[Zygote] = weakref.WeakSet()


def start_zygote(config: ExecutorConfig) -> Zygote:
    """Starts the base server of this worker. Call it in the main process, before it forks; `close()` ends it."""
    global _running
    _running = Zygote(config)
    return _running


def running_zygote() -> Zygote | None:
    """The base server that this process, or the one that forked it, has started."""
    return _running


def _forked() -> None:
    for zygote in _all:
        with contextlib.suppress(OSError):
            zygote.forked()


os.register_at_fork(after_in_child=_forked)
