"""Leaving a step: what it left behind is ended, what it made becomes durable, its result is created once.

Owns the order of that. The first half is done by the step's process (`celesta.runtime.step`), the second by whoever
takes its answer: an executor, which has a warm process for it, or the step's process itself. The result is the last
object written, so that whoever finds it finds the log and the report as well; the checkpoint goes after it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from celesta.environment import record_environment
from celesta.errors import StoreError
from celesta.runtime import checkpoints
from celesta.runtime.context import StepContext
from celesta.runtime.failures import error_document
from celesta.runtime.masking import Mask, without
from celesta.runtime.processes import end_children, flush_c_streams, has_children
from celesta.store.base import prefix_of, result_key

LEFTOVER_GRACE_SECONDS = 0.5
_RETRY_AFTER_SECONDS = (0.2, 1.0)

Document = dict[str, Any]


class Answer(TypedDict):
    """What a step's process has to say at its end: the result, the page of its report, the folder of its checkpoint."""

    result: Document
    html: str | None
    checkpoint: str | None


def end_leftovers() -> None:
    """Ends every process that the step started and did not end."""
    if not has_children():
        return
    tracker = sys.modules.get("multiprocessing.resource_tracker")
    if tracker is not None:  # It ends by itself, and cleans up, once nobody holds its pipe.
        with contextlib.suppress(OSError, TypeError):
            os.close(tracker._resource_tracker._fd)
    end_children(LEFTOVER_GRACE_SECONDS)


def flush_output() -> None:
    """Writes what Python and C still hold for stdout and stderr. What the step closed or broke stays as it is."""
    _flush(sys.stdout)
    _flush(sys.stderr)
    if sys.__stdout__ is not sys.stdout or sys.__stderr__ is not sys.stderr:
        _flush(sys.__stdout__)
        _flush(sys.__stderr__)
    flush_c_streams()


def _flush(stream: Any) -> None:
    with contextlib.suppress(Exception):
        stream.flush()


def answer_of(result: Document, context: StepContext, log: int) -> Answer:
    """What is to be kept of a step that ended."""
    result["log_bytes"] = log_size(log)
    return {"result": result, "html": context.html, "checkpoint": context.checkpoint_made}


def log_size(log: int) -> int:
    """How long the log is. 0 also where the step closed every descriptor that it found."""
    try:
        return os.fstat(log).st_size
    except OSError:
        return 0


def keep(answer: Answer, document: Mapping[str, Any], store: Any, log: int, mask: Mask | None = None) -> Document:
    """Uploads log and report and creates the result; the result document that counts. `mask` hides the step's secrets
    in its log; its process hid them in the rest.

    Raises `StoreError` when the store does not take the result.
    """
    result, html = answer["result"], answer["html"]
    prefix = prefix_of(document)
    try:
        keep_log(result, store, prefix, log, mask)
        if html is not None:
            store.put(f"{prefix}report.html", html.encode("utf-8", "replace"))
    except StoreError as error:
        result.update(status="failed", outputs={}, report=False)
        result["error"] = result["error"] or error_document(error, "system")
    with contextlib.suppress(StoreError):  # it is told by the result as well, which is what matters
        result["environment"] = record_environment(store)
    kept = create_result(result, store)
    if answer["checkpoint"] is not None and result["status"] == "succeeded":
        checkpoints.discard(store, document, answer["checkpoint"])
    return kept


def keep_log(result: Document, store: Any, prefix: str, log: int, mask: Mask | None = None) -> None:
    """Uploads the log when the result says that something is in it, without what the mask hides."""
    if not result["log_bytes"]:
        return
    with without(mask, log) as shown:
        result["log_bytes"] = log_size(shown)
        store.put_file(f"{prefix}log.txt", f"/proc/self/fd/{shown}")


def create_result(result: Document, store: Any, key: str = "") -> Document:
    """Creates `result.json` (or its claim, at another key), or leaves the one that is there; the one that counts.

    Whoever records that the step is done flushes it before (`Store.flush`): many at once cost little more than one.
    """
    key = key or result_key(result["run"], result["path"], result["token"])
    # Half a surrogate pair, in a message or a file's name, is no Unicode text: it becomes a question mark.
    data = json.dumps(result, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    if _patiently(lambda: store.create(key, data, flush=False)):
        return result
    existing = read_result(store, key)
    if existing is None:
        _patiently(lambda: store.put(key, data))
    return existing or result


def read_result(store: Any, key: str) -> Document | None:
    """The result document at a key. None: there is none, or a loss of power took its bytes before they were flushed.

    Raises `StoreError` when the store cannot tell.
    """
    data: bytes | None = store.get(key)
    try:
        found = json.loads(data) if data else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _patiently(write: Callable[[], Any]) -> Any:
    for seconds in _RETRY_AFTER_SECONDS:
        try:
            return write()
        except StoreError as error:
            if not error.retryable:
                raise
            time.sleep(seconds)
    return write()
