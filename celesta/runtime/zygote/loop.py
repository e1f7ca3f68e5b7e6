"""The event loop of a zygote: readable sockets, ended children, timers. One thread, no other state.

Used by the base server and the bundle zygotes. A fork of the process that does not go on with the loop calls
`abandon` first.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import select
import signal
import time
from collections.abc import Callable

Callback = Callable[[], None]
Ended = Callable[[int, int], None]


class Loop:
    """Calls back for what happens, one thing at a time."""

    def __init__(self, ended: Ended) -> None:
        """`ended(pid, status)` is called for each child that ended, orphans that were adopted included."""
        self._ended = ended
        self._poll = select.poll()
        self._readable: dict[int, Callback] = {}
        self._timers: list[tuple[float, int, Callback]] = []
        self._order = itertools.count()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _woken)
        self.on_readable(self._wake_read, self._reap)
        self.stopped = False

    def on_readable(self, descriptor: int, callback: Callback) -> None:
        """Calls back whenever the descriptor has something to read, or its other end is gone."""
        self._readable[descriptor] = callback
        self._poll.register(descriptor, select.POLLIN)

    def forget(self, descriptor: int) -> None:
        """Undoes `on_readable`."""
        if self._readable.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def after(self, seconds: float, callback: Callback) -> None:
        """Calls back once, so many seconds from now."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), callback))

    def run(self) -> None:
        """Goes on until `stopped` is set."""
        while not self.stopped:
            ready = [(descriptor, self._readable[descriptor]) for descriptor, _ in self._poll.poll(self._patience())]
            for descriptor, callback in ready:
                # One callback may close a descriptor of another, and open a new one of the same number.
                if self._readable.get(descriptor) is callback:
                    callback()
            while self._timers and self._timers[0][0] <= time.monotonic():
                heapq.heappop(self._timers)[2]()

    def abandon(self) -> None:
        """For a fork: gives back the signal, and closes every descriptor that the loop watches."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self._wake_write)
        for descriptor in self._readable:
            os.close(descriptor)

    def _patience(self) -> float | None:
        if not self._timers:
            return None
        return max(0.0, (self._timers[0][0] - time.monotonic()) * 1000)

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                self._ended(pid, status)


def _woken(number: int, frame: object) -> None:
    """The wakeup descriptor has told the loop already."""
