"""Leaving a step: what it left behind is ended, what it made becomes durable, its result is created once.

Owns the order of that. Called by `celesta.runtime.step`, and by executors for an attempt that could not do it itself.
The result is the last object written, so that whoever finds it finds the log and the report as well.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from typing import Any

from celesta.errors import StoreError
from celesta.runtime.context import StepContext
from celesta.runtime.failures import error_document
from celesta.runtime.processes import end_children, flush_c_streams, has_children

LEFTOVER_GRACE_SECONDS = 0.5
_RETRY_AFTER_SECONDS = (0.2, 1.0)

Document = dict[str, Any]


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
    for stream in {sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__}:
        with contextlib.suppress(Exception):
            stream.flush()  # type: ignore[union-attr]
    flush_c_streams()


def leave(result: Document, context: StepContext, store: Any, prefix: str, log: int) -> bytes:
    """Uploads log and report and creates the result; the bytes of the result that counts.

    Raises `StoreError` when the store does not take the result.
    """
    try:
        keep_log(result, store, prefix, log)
        if context.html is not None:
            store.put(f"{prefix}report.html", context.html.encode("utf-8", "replace"))
    except StoreError as error:
        result.update(status="failed", outputs={}, report=False)
        result["error"] = result["error"] or error_document(error, "system")
    return create_result(result, store, prefix)


def keep_log(result: Document, store: Any, prefix: str, log: int) -> None:
    """Uploads the log when something is in it, and notes its size."""
    try:
        size = os.fstat(log).st_size
    except OSError:  # The step closed every descriptor that it found.
        return
    if size:
        store.put_file(f"{prefix}log.txt", f"/proc/self/fd/{log}")
    result["log_bytes"] = size


def create_result(result: Document, store: Any, prefix: str) -> bytes:
    """Creates `result.json`, or leaves the one that is there; the bytes of the one that counts."""
    key = f"{prefix}result.json"
    data = json.dumps(result, separators=(",", ":")).encode()
    if _create(store, key, data):
        return data
    existing: bytes | None = store.get(key)
    return data if existing is None else existing


def _create(store: Any, key: str, data: bytes) -> bool:
    for seconds in _RETRY_AFTER_SECONDS:
        try:
            return bool(store.create(key, data))
        except StoreError as error:
            if not error.retryable:
                raise
            time.sleep(seconds)
    return bool(store.create(key, data))
