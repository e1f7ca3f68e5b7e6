"""What Linux offers to keep a process tree together, and to end it.

Owns the few calls of prctl, reading parents from /proc, and killing a tree. Used by the zygote, by a step that leaves,
and by the roles of a server. Only ever touches descendants of the calling process, and processes that carry its mark.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterable

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)
_prctl = _libc.prctl


def die_with_parent(parent: int, with_signal: int = signal.SIGKILL) -> None:
    """Has the kernel end this process when its parent does. Exits at once when `parent` is gone already."""
    _prctl(_PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Makes this process the new parent of descendants whose own parent ends, instead of init."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def flush_c_streams() -> None:
    """Writes what C libraries still hold in their stdio buffers."""
    _libc.fflush(None)


def has_children() -> bool:
    """Whether this process has any child, living or dead. One call to the kernel."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def family() -> dict[int, list[int]]:
    """The processes of this host by parent: `{parent: [children]}`, zombies left out."""
    found: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb", buffering=0) as stat:
            state, parent = stat.read(1024).rpartition(b")")[2].split(None, 2)[:2]
            if state not in (b"Z", b"X"):
                found.setdefault(int(parent), []).append(int(name))
    return found


def descendants(pid: int, of: dict[int, list[int]] | None = None) -> list[int]:
    """All that live below this process, parents before their children."""
    tree = family() if of is None else of
    found: list[int] = []
    pending = list(tree.get(pid, ()))
    while pending:
        child = pending.pop()
        found.append(child)
        pending += tree.get(child, ())
    return found


def kill_all(pids: Iterable[int], with_signal: int = signal.SIGKILL) -> None:
    """Signals each of them that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, with_signal)


def kill_tree(pid: int, with_signal: int = signal.SIGKILL) -> None:
    """Signals a process and all below it. Children are looked up first: afterwards they have another parent."""
    kill_all([pid, *descendants(pid)], with_signal)


def end_children(grace_seconds: float) -> None:
    """Ends all descendants of this process: asks, waits up to the grace, then kills and waits as long again."""
    while _reap_one():
        """What has ended already needs no signal."""
    if not has_children():
        return
    kill_all(descendants(os.getpid()), signal.SIGTERM)
    if not _reaped_within(grace_seconds):
        kill_all(descendants(os.getpid()))
        _reaped_within(grace_seconds)


def started(pid: int) -> int | None:
    """When a process started, in ticks since boot: with the pid it names a process for ever. None: it is not there."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as stat:
            return int(stat.read(1024).rpartition(b")")[2].split()[19])
    except (OSError, IndexError):
        return None


def oom_kills() -> int:
    """How many processes of this host, or of this container where the kernel counts them, it has ended for want of
    memory."""
    for place in ("/sys/fs/cgroup/memory.events", "/proc/vmstat"):
        with contextlib.suppress(OSError, ValueError), open(place, "rb") as counts:
            for line in counts:
                if line.startswith(b"oom_kill "):
                    return int(line.split()[1])
    return 0


def name_process(name: str) -> None:
    """The name that `ps` and `top` show, at most 15 characters."""
    _prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def _reaped_within(seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while has_children():
        if not _reap_one():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.005)
    return True


def _reap_one() -> bool:
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    return False
