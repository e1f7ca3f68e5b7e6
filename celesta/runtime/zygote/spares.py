"""Step children that are forked ahead of need, several at a time while they are needed fast.

Owned by a bundle zygote. After a fork the zygote pays for each page that it writes to; of forks that follow one another
at once only the last one costs that. So who is asked often forks in bursts, and hands out what waits.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from celesta.runtime.zygote.slots import Slot, Slots

BURST = 4
OFTEN_SECONDS = 0.1

Live = Callable[[socket.socket, Slot, int, bool], NoReturn]
"""What a child does with its end of the talk, its slot, its parent's pid, and whether to rehearse."""


@dataclass(frozen=True)
class Spare:
    """A child that waits for a document; `talk` is our end, to be handed out."""

    pid: int
    talk: socket.socket
    slot: Slot


class Spares:
    """The children that nobody has yet."""

    def __init__(self, slots: Slots, live: Live) -> None:
        self.waiting: dict[int, Spare] = {}
        self._slots = slots
        self._live = live
        self._taken_at = 0.0
        self._often = False

    def take(self, rehearse: bool) -> Spare:
        """The one that has waited longest, or a new one. Raises `OSError` when the host has no process to give."""
        now = time.monotonic()
        self._often, self._taken_at = now - self._taken_at < OFTEN_SECONDS, now
        if not self.waiting:
            self._fork(1, rehearse)
        return self.waiting.pop(next(iter(self.waiting)))

    def prepare(self, rehearse: bool) -> None:
        """Forks ahead, when the last one was taken and there is much to do."""
        if self._often and not self.waiting:
            with contextlib.suppress(OSError):  # Whoever takes one is told when there still is none.
                self._fork(BURST, rehearse)

    def drop(self, pid: int) -> bool:
        """Forgets one that ended, and its slot. False: it is none of them."""
        spare = self.waiting.pop(pid, None)
        if spare is not None:
            spare.talk.close()
            self._slots.give_back(spare.slot, clean=True)
        return spare is not None

    def _fork(self, count: int, rehearse: bool) -> None:
        slots = [self._slots.take() for _ in range(count)]
        pairs = [socket.socketpair() for _ in range(count)]
        pids: list[int] = []
        me = os.getpid()
        try:
            for number in range(count):
                pid = os.fork()
                if pid == 0:
                    self._begin(number, slots, pairs, me, rehearse)
                pids.append(pid)
        finally:
            for number, (ours, theirs) in enumerate(pairs):
                theirs.close()
                if number < len(pids):
                    self.waiting[pids[number]] = Spare(pids[number], ours, slots[number])
                else:
                    ours.close()
                    self._slots.give_back(slots[number], clean=True)

    def _begin(
        self, number: int, slots: list[Slot], pairs: list[tuple[socket.socket, socket.socket]], me: int, rehearse: bool
    ) -> NoReturn:
        """A child keeps its own end of its own talk, and no other."""
        try:
            for spare in self.waiting.values():
                spare.talk.close()
            for other, (ours, theirs) in enumerate(pairs):
                ours.close()
                if other != number:
                    theirs.close()
            self._live(pairs[number][1], slots[number], me, rehearse)
        finally:
            os._exit(1)
