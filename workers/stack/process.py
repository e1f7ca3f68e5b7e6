"""One supervised process: how it starts, when it is ready, how it ends, and when it may start again.

Roles are forked from the supervisor, which has imported their code once: four interpreters would take four times the
memory and import time. Each is the leader of a process group of its own and dies with the supervisor.
"""

import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from celesta.errors import CelestaError
from celesta.runtime.processes import die_with_parent, name_process

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 15.0
STEADY_SECONDS = 5.0
"""A process that lived this long has earned a quick restart: it was killed, rather than unable to start."""
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

Ready = Callable[[], None]
Body = Callable[[Ready], None]


@dataclass
class Process:
    """A role and, while it runs, its process."""

    role: str
    body: Body
    """What the child does: runs until the process ends, and calls its argument once it is ready."""
    log: Path
    probe: Callable[[], bool] | None = None
    """Asks from outside whether it is ready, for a program that cannot say so."""
    farewell: Callable[[], None] = lambda: None
    """Done before it is told to end."""
    grace_seconds: float = 5.0
    """How long it may take to end when told to."""
    pid: int = 0
    started_at: str = ""
    ready: bool = False
    _ready_pipe: int = -1
    _started: float = 0.0
    _pause_seconds: float = field(default=FIRST_PAUSE_SECONDS)
    _next_start: float = 0.0

    @property
    def running(self) -> bool:
        return self.pid > 0

    @property
    def due(self) -> bool:
        return not self.running and time.monotonic() >= self._next_start

    def start(self) -> None:
        self._ready_pipe, child_end = os.pipe()
        os.set_blocking(self._ready_pipe, False)
        self.ready, self._started, self.started_at = False, time.monotonic(), now()
        parent = os.getpid()
        gc.freeze()  # what is shared stays shared: the collector of a child does not write into these pages
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._ready_pipe)
            self._live(parent, child_end)
        os.close(child_end)
        with suppress(ProcessLookupError, PermissionError):
            os.setpgid(self.pid, self.pid)  # in both, so that neither has to wait for the other

    def check_ready(self) -> bool:
        """Whether the process has said so by now."""
        if self.probe and self.running:
            self.ready = self.ready or self.probe()
        elif not self.ready and self._ready_pipe >= 0:
            with suppress(BlockingIOError):
                self.ready = os.read(self._ready_pipe, 1) == b"+"
                self._close_pipe()
        return self.ready

    def ended(self) -> None:
        """It was reaped: end what it left of its group, and set when it may start again."""
        self.signal(signal.SIGKILL, group=True)
        if time.monotonic() - self._started > STEADY_SECONDS:
            self._pause_seconds = FIRST_PAUSE_SECONDS
        self._next_start = time.monotonic() + self._pause_seconds
        self._pause_seconds = min(LONGEST_PAUSE_SECONDS, self._pause_seconds * 2)
        self.pid, self.ready = 0, False
        self._close_pipe()

    def signal(self, number: int, *, group: bool = False) -> None:
        if self.pid:
            with suppress(ProcessLookupError, PermissionError):
                (os.killpg if group else os.kill)(self.pid, number)

    def _close_pipe(self) -> None:
        if self._ready_pipe >= 0:
            os.close(self._ready_pipe)
            self._ready_pipe = -1

    def _live(self, parent: int, ready_pipe: int) -> NoReturn:
        """The child's whole life; it never returns into the supervisor's code."""
        status = 1
        try:
            become_role(self.role, parent, self.log)

            def ready() -> None:
                os.write(ready_pipe, b"+")
                os.close(ready_pipe)

            self.body(ready)
            status = 0
        except CelestaError as error:
            print(f"{error.code}: {error}", file=sys.stderr)  # noqa: T201 - the role's log
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)


def become_role(role: str, parent: int, log: Path) -> None:
    """Leave the supervisor's group, signals and output; die when it dies."""
    os.setpgid(0, 0)
    die_with_parent(parent)
    name_process(f"celesta-{role}")
    signal.set_wakeup_fd(-1)
    for number in HANDLED:
        signal.signal(number, signal.SIG_DFL)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.close(null)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
