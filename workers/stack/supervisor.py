"""Starts processes, watches them, starts again what failed, and stops them in order.

`workers.stack.__main__` gives it the roles; it knows nothing of what they do. It is a single thread that sleeps until
a signal arrives: no handler does more than wake it.
"""

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType

import psutil

from celesta.errors import StackError
from workers.stack.process import HANDLED, Process

START_SECONDS = 60.0
POLL_SECONDS = 0.02
IDLE_SECONDS = 0.5
LOG_TAIL_LINES = 12


class Interrupted(Exception):
    """Someone wants the stack to end while it still starts."""


class Supervisor:
    """Owns the processes of one stack, in the order in which they start."""

    def __init__(self, tick: Callable[[], None] = lambda: None) -> None:
        self.processes: list[Process] = []
        self.stop_signals = 0
        self._tick = tick
        """Called several times a second: shows new log lines in the foreground."""
        self._wake, wake_end = os.pipe()
        for end in (self._wake, wake_end):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        for number in HANDLED:
            signal.signal(number, self._on_signal)

    @property
    def pids(self) -> dict[str, int]:
        return {"supervisor": os.getpid()} | {p.role: p.pid for p in self.processes if p.running}

    def start(self, *processes: Process) -> None:
        """Start them side by side; they are watched from now on."""
        for process in processes:
            self.processes.append(process)
            process.start()

    def until_ready(self, *processes: Process) -> None:
        """Wait for them; raises `StackError` with the end of its log when one dies or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while not all(process.check_ready() for process in processes):
            for process in self._reap():
                raise StackError(f"{process.role} ended while it started.\n{tail(process)}")
            if time.monotonic() > deadline:
                late = next(process for process in processes if not process.ready)
                raise StackError(f"{late.role} is not ready after {START_SECONDS:g} s.\n{tail(late)}")
            self._sleep(POLL_SECONDS)
            if self.stop_signals:
                raise Interrupted

    def complete(self, process: Process) -> None:
        """Run a process to its end; raises `StackError` when it says that it failed."""
        process.start()
        deadline = time.monotonic() + START_SECONDS
        while True:
            pid, status = os.waitpid(process.pid, os.WNOHANG)
            if pid:
                process.pid = 0
                if status:
                    raise StackError(f"{process.role} failed.\n{tail(process)}")
                return
            if time.monotonic() > deadline:
                process.signal(signal.SIGKILL, group=True)
            self._sleep(POLL_SECONDS)

    def watch(self, changed: Callable[[], None], may_go_on: Callable[[], bool]) -> None:
        """Until a signal tells to stop, or nothing holds the stack any more: start again what ends, and say when the
        processes have changed."""
        while not self.stop_signals and may_go_on():
            for process in self._reap():
                say(f"{process.role} ended unexpectedly; starting it again")
            for process in [p for p in self.processes if p.due]:
                process.start()
                changed()
            self._sleep(IDLE_SECONDS)

    def stop(self, order: Sequence[str]) -> None:
        """End the processes one after the other, and whatever they left behind."""
        for role in order:
            for process in [p for p in self.processes if p.role == role and p.running]:
                self._end(process)
        for process in [p for p in self.processes if p.running]:
            self._end(process)
        end_leftovers()

    def _end(self, process: Process) -> None:
        process.farewell()
        process.signal(signal.SIGTERM)
        deadline, told = time.monotonic() + process.grace_seconds, self.stop_signals
        while process.running:
            self._reap()
            if time.monotonic() > deadline or self.stop_signals > told:
                process.signal(signal.SIGKILL, group=True)
            if process.running:
                self._sleep(POLL_SECONDS)

    def _reap(self) -> list[Process]:
        """Take note of every child that ended; returns the watched ones."""
        ended = []
        with suppress(ChildProcessError):
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                for process in [p for p in self.processes if p.pid == pid]:
                    process.ended()
                    ended.append(process)
        return ended

    def _sleep(self, seconds: float) -> None:
        """Sleep, unless a signal came in between."""
        self._tick()
        select.select([self._wake], [], [], seconds)
        with suppress(BlockingIOError):
            os.read(self._wake, 512)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self.stop_signals += 1


def end_leftovers(seconds: float = 3.0) -> None:
    """Kill what is still below us: orphans come to the supervisor, because it asked the kernel for them."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        children = psutil.Process().children(recursive=True)
        if not children:
            return
        for child in children:
            with suppress(psutil.Error):
                child.kill()
        psutil.wait_procs(children, timeout=0.5)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def tail(process: Process) -> str:
    """The end of a process's log, for the error that names it."""
    try:
        lines = process.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    except OSError:
        lines = []
    return "\n".join([f"The end of {process.log}:", *(f"  {line}" for line in lines or ["(empty)"])])


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)  # noqa: T201 - the supervisor's own terminal or log
