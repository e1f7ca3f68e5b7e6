"""Exit statuses: what a script may rely on after `celesta …` ended."""

from __future__ import annotations

from celesta.errors import CelestaError, RunFailed, ServerUnreachable, StackError, TaskFailed

SUCCEEDED, NOT_SUCCEEDED, WRONG_USAGE, UNREACHABLE = 0, 1, 2, 3


def exit_status(error: CelestaError) -> int:
    """1 the run did not succeed (or a system failed under it), 2 wrong usage or input, 3 no server."""
    if isinstance(error, ServerUnreachable):
        return UNREACHABLE
    if isinstance(error, RunFailed | TaskFailed):
        return NOT_SUCCEEDED
    if isinstance(error, StackError):
        return WRONG_USAGE
    return NOT_SUCCEEDED if error.kind == "system" else WRONG_USAGE
