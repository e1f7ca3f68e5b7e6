"""The processes of a running stack, found by walking down from the supervisor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import psutil

ZYGOTE_MODULE = "celesta.runtime"


def processes_of(pids: Mapping[str, int]) -> list[dict[str, Any]]:
    """`role, pid, started_at, memory_bytes` of every process, parents before children.

    A child of a role has its role, except below a worker: what runs the step runtime is a `zygote`, and what a zygote
    forked is a `step`.
    """
    roles = {pid: role for role, pid in pids.items()}
    try:
        supervisor = psutil.Process(pids["supervisor"])
    except psutil.NoSuchProcess:
        return []
    return list(_walk(supervisor, "supervisor", roles))


def _walk(process: psutil.Process, role: str, roles: Mapping[int, str]) -> Iterator[dict[str, Any]]:
    try:
        with process.oneshot():
            started = datetime.fromtimestamp(process.create_time(), UTC).isoformat(timespec="milliseconds")
            if process.status() == psutil.STATUS_ZOMBIE:
                return
            yield {
                "role": role,
                "pid": process.pid,
                "started_at": started.replace("+00:00", "Z"),
                "memory_bytes": process.memory_info().rss,
            }
        children = process.children()
    except psutil.NoSuchProcess:
        return
    for child in children:
        yield from _walk(child, roles.get(child.pid) or _role_below(role, child), roles)


def _role_below(role: str, child: psutil.Process) -> str:
    if role in ("zygote", "step"):
        return "step"
    try:
        command = " ".join(child.cmdline())
    except psutil.Error:
        return role
    if ZYGOTE_MODULE in command:
        return "zygote"
    return "step" if role == "supervisor" else role
