"""Processes that outlived their zygote: found by a mark in their environment, and ended.

Called when a base server starts. While a zygote lives it ends what its steps leave behind. When it was killed together
with its worker, programs that a step had started go on; every process below a base server inherits the mark, which
names the worker by pid and start time, so that it is never taken for another.
"""

from __future__ import annotations

import contextlib
import os

from celesta.runtime.processes import kill_all, started

MARK = "CELESTA_ZYGOTE"


def mark_of(owner: int, incarnation: int) -> str:
    """The mark of the n-th base server of a worker."""
    return f"{owner}.{started(owner)}.{incarnation}"


def end_orphans(mark: str) -> list[int]:
    """Kills all processes of this user whose worker is gone, or whose base server is an earlier one of this worker."""
    found = [pid for pid, theirs in _marked().items() if _is_orphan(theirs, mark)]
    kill_all(found)
    return found


def _is_orphan(theirs: str, mark: str) -> bool:
    owner, since, incarnation = theirs.split(".")
    if (owner, since) == tuple(mark.split(".")[:2]):
        return int(incarnation) < int(mark.rpartition(".")[2])
    return str(started(int(owner))) != since


def _marked() -> dict[int, str]:
    wanted = f"{MARK}=".encode()
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as environment:
            for entry in environment.read().split(b"\0"):
                if entry.startswith(wanted) and entry.count(b".") == 2:
                    found[int(name)] = entry[len(wanted) :].decode()
    return found
