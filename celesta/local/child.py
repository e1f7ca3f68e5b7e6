"""A part of a local run in a child process: what has only so much time, and is ended with all below it.

Called by `celesta.local.steps` for steps that have a time-out, or whose run has one; all others run in the process of
the run itself. The child is a fork, so that it finds the modules, values and breakpoints that are there already.
"""

import os
import select
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from celesta.runtime.leave import flush_output
from celesta.runtime.processes import adopt_orphans, descendants, die_with_parent, kill_all

KILL_SECONDS = 1.0
"""Between being asked to end and being killed."""


def within(seconds: float, work: Callable[[], object]) -> int | None:
    """Does the work in a child; its wait status. None: it took longer, and neither it nor anything below it is left."""
    flush_output()
    parent, pid = os.getpid(), os.fork()
    if pid == 0:
        _be_the_child(parent, work)
    ended = os.pidfd_open(pid)
    try:
        if _is_over(ended, seconds):
            return os.waitpid(pid, 0)[1]
        _end(pid, ended)
        return None
    except BaseException:
        _end(pid, ended)
        raise
    finally:
        os.close(ended)


def _be_the_child(parent: int, work: Callable[[], object]) -> NoReturn:
    status = 1
    try:
        die_with_parent(parent)
        adopt_orphans()
        work()
        status = 0
    except KeyboardInterrupt:
        """The parent has been told as well."""
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
    finally:
        flush_output()
        os._exit(status)


def _end(pid: int, ended: int) -> None:
    """Asks the child and all below it to end, and soon kills what is left."""
    family = [pid, *descendants(pid)]
    kill_all(family, 15)
    if not _is_over(ended, KILL_SECONDS) or len(family) > 1:
        kill_all({*family, *descendants(pid)})
    os.waitpid(pid, 0)


def _is_over(ended: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))
