"""Processes that outlived their zygote: found by a mark in their environment, and ended.

Called when a base server starts. While a zygote lives it ends what its steps leave behind. When it was killed together
with its worker, programs that a step had started go on; every process below a base server inherits the mark, which
names the worker by pid and start time, so that it is never taken for another, and by the namespace in which that pid
has a meaning: workers in containers of the same host are none of our business.
"""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple

from celesta.runtime.processes import kill_all, started

VARIABLE = "CELESTA_ZYGOTE"


class Mark(NamedTuple):
    """Whose a process is: the n-th base server of a worker."""

    namespace: int
    owner: int
    since: int
    incarnation: int

    @classmethod
    def of(cls, owner: int, incarnation: int) -> Mark:
        """The mark for a base server of this living worker."""
        return cls(os.stat("/proc/self/ns/pid").st_ino, owner, started(owner) or 0, incarnation)

    def __str__(self) -> str:
        return ".".join(map(str, self))


def end_orphans(own: Mark, before: Mark | None = None) -> list[int]:
    """Kills all processes of this user whose worker is gone, and those of the base server that ran before this one."""
    found = [pid for pid, mark in _marked().items() if mark == before or _is_orphan(mark, own)]
    kill_all(found)
    return found


def _is_orphan(mark: Mark, own: Mark) -> bool:
    return mark.namespace == own.namespace and started(mark.owner) != mark.since


def _marked() -> dict[int, Mark]:
    found = {}
    others = set(filter(str.isdigit, os.listdir("/proc"))) - {str(os.getpid())}
    for name in others:
        with contextlib.suppress(OSError, ValueError, TypeError), open(f"/proc/{name}/environ", "rb") as environment:
            for entry in environment.read().split(b"\0"):
                variable, _, value = entry.partition(b"=")
                if variable == VARIABLE.encode():
                    found[int(name)] = Mark(*map(int, value.split(b".")))
    return found
