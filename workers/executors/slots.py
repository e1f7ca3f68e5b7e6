"""Which attempts hold how much of this host: the slots of their worker as processors, and the host's memory.

Called by the process executor before an attempt gets a process, and after it. Whoever comes first is served first: an
attempt that waits keeps what it will need from those who come later, and nothing else. So a big one does not wait for
ever, and a full memory stops nobody who asks for none. A claim ends with its process, however that ends.

The ledger is a small file that all workers of a home share, changed under its lock: no message, no round trip.
Refuses what could never fit.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from celesta.errors import InputError, Problem
from celesta.runtime.processes import started

MILLI = 1000
PLACES = 512
"""Attempts that hold or wait at a time; one more has to wait for a place."""
_ROW = struct.Struct("<7q")


class Ask(NamedTuple):
    """A part of the host: thousandths of a processor, and bytes of memory."""

    cpu_milli: int
    memory_bytes: int

    @classmethod
    def of(cls, resources: Mapping[str, Any] | None, room: Ask | None = None) -> Ask:
        """What the resources of a step document ask for. Memory that is not asked for is not counted.

        What an attempt may use beyond what its author asked for ends where the `room` does.
        """
        asked = resources or {}
        memory = int(asked.get("memory_bytes") or 0)
        if room is not None and asked.get("memory_asked_bytes") is not None:
            memory = min(memory, max(room.memory_bytes, int(asked["memory_asked_bytes"])))
        return cls(round((asked.get("cpu") or 1.0) * MILLI), memory)

    def __str__(self) -> str:
        memory = f" and {self.memory_bytes / 2**20:,.0f} MiB" if self.memory_bytes else ""
        return f"{self.cpu_milli / MILLI:g} cpu{memory}"


class Row(NamedTuple):
    """A claim in the ledger: whose it is, its number in the line, whether it was admitted, and what it asks for."""

    worker: int = 0
    """The process id of its worker, whose slots it takes; `pid` is the process that holds it."""
    pid: int = 0
    since: int = 0
    ticket: int = 0
    admitted: int = 0
    cpu_milli: int = 0
    memory_bytes: int = 0

    @property
    def is_over(self) -> bool:
        return started(self.pid) != self.since


_FREE = Row()


class Slots:
    """The ledger of a home, as one process sees it; for all its threads, but not across a fork."""

    def __init__(self, folder: Path, capacity: Ask, worker: int) -> None:
        self.capacity = capacity
        self._me = worker, os.getpid(), started(os.getpid()) or 0
        self._threads = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        # Of a worker in another container with the same home neither the processors nor the process ids are ours.
        path = folder / f"slots-{Path('/proc/self/ns/pid').stat().st_ino}"
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        os.close(self._file)

    def claim(self, ask: Ask) -> Claim:
        """A claim that has yet to be admitted. Raises `InputError` for one that never could be."""
        room, problems = self.capacity, list[Problem]()
        if ask.cpu_milli > room.cpu_milli:
            told = f"the step asks for {ask.cpu_milli / MILLI:g}, and its worker has {room.cpu_milli / MILLI:g} slots"
            problems.append(Problem("resources.cpu", f"{told}; ask for less, or raise --workers (CELESTA_SLOTS)"))
        if ask.memory_bytes > room.memory_bytes:
            told = f"the step asks for {ask.memory_bytes:,} bytes, and its worker has {room.memory_bytes:,}"
            problems.append(Problem("resources.memory", f"{told}; ask for less, or raise CELESTA_MEMORY"))
        if problems:
            raise InputError("the step can never start here" if len(problems) > 1 else "", problems)
        return Claim(self, ask)

    def held(self) -> Ask:
        """What the admitted attempts hold now: of the worker's slots, and of the memory."""
        with self.rows() as rows:
            return self._sum([row for row in rows if row.admitted])

    # For claims

    def new_row(self, rows: list[Row], ask: Ask) -> int | None:
        """The place of a new row at the end of the line; None: all are taken."""
        if _FREE not in rows and len(rows) == PLACES:
            self.drop_dead(rows)
        if _FREE not in rows and len(rows) == PLACES:
            return None
        place = rows.index(_FREE) if _FREE in rows else len(rows)
        ticket = max((row.ticket for row in rows), default=0) + 1
        self.write(rows, place, Row(*self._me, ticket, 0, *ask))
        return place

    def has_room(self, rows: list[Row], mine: Row) -> bool:
        """Whether it fits beside those that were admitted and those that stand before it."""
        others = [row for row in rows if row != mine and (row.admitted or row.ticket < mine.ticket)]
        taken, room = self._sum(others), self.capacity
        if taken.cpu_milli + mine.cpu_milli > room.cpu_milli:
            return False
        return not mine.memory_bytes or taken.memory_bytes + mine.memory_bytes <= room.memory_bytes

    def _sum(self, rows: list[Row]) -> Ask:
        ours = (row.cpu_milli for row in rows if row.worker == self._me[0])
        return Ask(sum(ours), sum(row.memory_bytes for row in rows))

    def drop_dead(self, rows: list[Row]) -> None:
        """Ends the claims of processes that have ended."""
        for place, row in enumerate(rows):
            if row != _FREE and row.is_over:
                self.write(rows, place, _FREE)

    @contextlib.contextmanager
    def rows(self) -> Iterator[list[Row]]:
        """The ledger, under its lock."""
        with self._threads:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                data = os.pread(self._file, PLACES * _ROW.size, 0)
                yield list(map(Row._make, _ROW.iter_unpack(data[: len(data) // _ROW.size * _ROW.size])))
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def write(self, rows: list[Row], place: int, row: Row) -> None:
        os.pwrite(self._file, _ROW.pack(*row), place * _ROW.size)
        rows[place : place + 1] = [row]


class Claim:
    """What one attempt asks for, from its place in the line to its end."""

    def __init__(self, slots: Slots, ask: Ask) -> None:
        self.ask = ask
        self._slots = slots
        self._place: int | None = None

    def is_admitted(self) -> bool:
        """Whether there is room for it by now; at the first call it gets its place in the line."""
        slots = self._slots
        with slots.rows() as rows:
            if self._place is None:
                self._place = slots.new_row(rows, self.ask)
            if self._place is None:
                return False
            mine = rows[self._place]
            if not slots.has_room(rows, mine):
                slots.drop_dead(rows)
            if not slots.has_room(rows, mine):
                return False
            slots.write(rows, self._place, mine._replace(admitted=1))
            return True

    def leave(self) -> None:
        """Gives back what it held, or its place in the line."""
        if self._place is not None:
            with self._slots.rows() as rows:
                self._slots.write(rows, self._place, _FREE)
            self._place = None
