"""Result documents of attempts that could not write their own: what became of the process, in words and kinds.

Called by executors, and by the program of a step's container. Owns the mapping from a wait status to an error kind. A
result that the step wrote itself always wins over the one that is made here.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from typing import Any

from celesta.errors import StoreError
from celesta.runtime.call import blank_result
from celesta.runtime.failures import error_document, plain_error
from celesta.runtime.leave import create_result, keep_log, log_size, read_result
from celesta.runtime.masking import Mask
from celesta.store import Store, prefix_of
from celesta.store.base import result_key

Document = dict[str, Any]

# Signals that come from outside; all others are the doing of the step's own code.
_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT}
_FATAL = b"Fatal Python error"
_OUR_FRAMES = "celesta/runtime/"
_TAIL_BYTES = 65_536
_NAMES = ("type", "kind", "bases")
"""Of an error document: whose move it is, and classes. As in the errors of the step itself, they are not masked."""


def timed_out(seconds: float, where: str = "ran") -> Document:
    """The error of an attempt that took too long."""
    return plain_error(
        "Timeout", f"the step {where} longer than its timeout of {seconds:g} s, and was ended", "timeout"
    )


def cancelled() -> Document:
    """The error of an attempt that was cancelled."""
    return plain_error("Cancelled", "the step was cancelled", "system")


def lost(why: str) -> Document:
    """The error of an attempt whose process cannot be asked any more."""
    return plain_error("Lost", why, "system")


def died(ending: dict[str, Any] | None, log: int) -> Document:
    """The error of an attempt whose process ended without a result, from its wait status."""
    if ending is None:
        return lost("the process of the step is gone, and left no result")
    if os.WIFEXITED(ending["status"]):
        code = os.WEXITSTATUS(ending["status"])
        message = f"the process of the step ended by itself with status {code} (os._exit?) before the step returned"
        return plain_error("ProcessExited", message, "user")
    number = os.WTERMSIG(ending["status"])
    name = _signal_name(number)
    if ending["out_of_memory"]:
        message = f"the host ran out of memory, and the kernel ended the step ({name}); ask for more, or use less"
        return plain_error("OutOfMemory", message, "out_of_memory")
    if number in _FROM_OUTSIDE:
        return plain_error("Killed", f"the process of the step was ended from outside by {name}", "system")
    return plain_error("Crashed", f"the process of the step died of {name}", "user", _last_words(log))


def conclude(
    document: Document,
    store: Store,
    error: Document,
    log: int | None,
    started: float,
    worker: str,
    mask: Mask | None = None,
) -> Document:
    """Makes the attempt's failure durable, unless the step's own result is; the result document that counts.

    A cancelled attempt keeps its log, and gets no result. `mask` hides the step's secrets.
    """
    result = blank_result(document, worker)
    seconds = time.monotonic() - started
    result["timings"]["started_ms"] -= int(seconds * 1000)
    result["timings"]["body_seconds"] = round(seconds, 6)
    result["error"] = error if mask is None else _hidden(error, mask)
    prefix = prefix_of(document)
    try:
        existing = read_result(store, result_key(result["run"], result["path"], result["token"]))
        if existing is not None:
            return existing
        if log is not None:
            result["log_bytes"] = log_size(log)
            keep_log(result, store, prefix, log, mask)
        return result if error["type"] == "Cancelled" else create_result(result, store)
    except StoreError as failure:
        result["error"] = error_document(failure, "system")
        return result


def _hidden(error: Document, mask: Mask) -> Document:
    """The error with no secret in what it says. What it is stays: it decides on retries, and tells a secret's value if
    one that happens to be such a word is hidden there."""
    return {name: said if name in _NAMES else mask.document(said) for name, said in error.items()}


def _signal_name(number: int) -> str:
    try:
        return f"{signal.Signals(number).name} ({signal.strsignal(number)})"
    except ValueError:
        return f"signal {number}"


def _last_words(log: int) -> str:
    """Where the interpreter was when it crashed: faulthandler writes it to the log."""
    start = max(0, os.fstat(log).st_size - _TAIL_BYTES)
    tail = os.pread(log, _TAIL_BYTES, start)
    found = tail.rfind(_FATAL)
    if found < 0:
        return ""
    lines = tail[found:].decode(errors="replace").splitlines()
    return "\n".join(itertools.takewhile(lambda line: _OUR_FRAMES not in line, lines))
