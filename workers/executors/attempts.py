"""One attempt on a step child: obtained, given its document, followed to its end.

Called by the process executor, from one thread; `cancel` and `read_log` come from any. Owns time-outs, cancellation and
the live log of the attempt.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Mapping

from app.services.step_result import check_result
from celesta.errors import InputError, StoreError
from celesta.runtime import checkpoints, leave, live, verdicts
from celesta.runtime.failures import plain_error
from celesta.runtime.masking import Mask, Stream, mask_of, without
from celesta.runtime.zygote.base import IMPORT_SECONDS
from celesta.runtime.zygote.bundle import KILL_GRACE_SECONDS
from celesta.runtime.zygote.wire import MessageTooLong, receive_bytes
from celesta.store import Store
from workers.executors.base import Document, OnLog, OnMetrics
from workers.executors.lanes import Child, Lane, LaneEnded

log = logging.getLogger(__name__)

LIVE_LOG_AFTER_SECONDS = 1.0
LIVE_LOG_EVERY_SECONDS = 0.5
_LOG_CHUNK_BYTES = 65_536
_OBTAIN_SECONDS = IMPORT_SECONDS + 30
_ENDING_SECONDS = 5.0
_ANSWER_SECONDS = 10.0
"""An answer that has begun comes at once, but for a step that writes there itself."""
_ANSWER_BYTES = 256 << 20


class Attempt:
    """An attempt at a step, from its submission to its result document."""

    def __init__(
        self,
        document: Document,
        store: Store,
        on_log: OnLog | None,
        worker: str,
        checkpoints: str | os.PathLike[str],
        on_metrics: OnMetrics | None = None,
    ) -> None:
        self.document = document
        self._mask: Mask | None = None
        self._shown = Stream(None)
        self.key = (document["run"], document["node"], document["token"])
        self._store = store
        self._on_log, self._on_metrics = on_log, on_metrics
        self._worker = worker
        self._checkpoints = checkpoints
        self._timeout: float | None = document.get("timeout_seconds")
        self._started = time.monotonic()
        self.cancelled = threading.Event()
        self._lock = threading.Lock()
        self._lane: Lane | None = None
        self._child: Child | None = None
        self._sent_bytes = self._read_metrics = 0
        self._notes = b""

    # From other threads

    def cancel(self) -> None:
        """Has the attempt end soon."""
        with self._lock:
            self.cancelled.set()
            if self._lane is not None:
                self._lane.wake()

    def read_log(self, offset: int) -> bytes:
        """What the step has written from `offset` on."""
        with self._lock:
            if self._child is None:
                return b""
            with without(self._mask, self._child.log, ended=False) as shown:
                return os.pread(shown, 1 << 20, offset)

    # From the thread that submitted it

    def hide(self, secrets: Mapping[str, str]) -> None:
        """Shows none of these values in what is handed out and kept of the attempt."""
        self._mask = mask_of(secrets)
        self._shown = Stream(self._mask)

    def note(self, text: str) -> None:
        """Tells whoever follows the log something before the step begins; the log begins with it."""
        self._notes += text.encode()
        self._tell(text.encode())

    def fail(self, error: Document) -> Document:
        """The result document of an attempt that ends without one of its own."""
        if error["type"] != "Cancelled":
            self._keep_checkpoint()
        log = None if self._child is None else self._child.log
        return verdicts.conclude(self.document, self._store, error, log, self._started, self._worker, self._mask)

    def run(self, lane: Lane, envelope: bytes) -> Document:
        """Runs the step on a child of this lane; its result document.

        Raises `LaneEnded` when the lane has no child that took the document: then nothing of the step has run.
        """
        with self._lock:
            self._lane = lane
        try:
            child = self._obtain(lane)
            if child is None:
                error = verdicts.cancelled() if self.cancelled.is_set() else self._not_obtained()
                return self.fail(error)
            try:
                return self._run_on(lane, child, envelope)
            finally:
                with self._lock:
                    self._child = None
                    child.close()
        finally:
            with self._lock:
                self._lane = None

    def _obtain(self, lane: Lane) -> Child | None:
        deadline = time.monotonic() + (self._timeout or _OBTAIN_SECONDS)
        while not self.cancelled.is_set() and (left := deadline - time.monotonic()) > 0:
            child = lane.take(left)
            if child is not None:
                return child
        return None

    def _not_obtained(self) -> Document:
        if self._timeout:
            return verdicts.timed_out(self._timeout, "waited for the import of its module")
        return verdicts.lost("the zygote gave no process for the step; the worker's log tells more")

    def _run_on(self, lane: Lane, child: Child, envelope: bytes) -> Document:
        with self._lock:
            self._child = child
        if self._notes:
            os.write(child.log, self._notes)
        try:
            lane.give(child, envelope)
        except OSError as gone:
            raise LaneEnded from gone
        try:
            error = self._follow(lane, child)
            data = _said(child)
            if data is not None:
                return self._take(lane, child, data)
            return self.fail(error or verdicts.died(lane.ending(child, _ENDING_SECONDS), child.log))
        except LaneEnded:
            return self.fail(verdicts.lost("the zygote of the step was ended, and the step with it"))
        except BaseException:  # This worker is told to end: another one goes on from what the step has kept.
            kill_group(child.pid)
            self._keep_checkpoint()
            raise
        finally:
            self._send_log(child, final=True)
            lane.leave(child)

    def _take(self, lane: Lane, child: Child, data: bytes) -> Document:
        """Makes the child's answer durable. The step's code can write there too: what is no answer fails the step."""
        try:
            answer = _answer(data, self.document)
        except InputError as error:
            lane.kill(child)  # It need not be at its end.
            return self.fail(plain_error("InvalidResult", str(error), "user"))
        if answer["result"]["status"] != "succeeded":
            self._keep_checkpoint()
        return leave.keep(answer, self.document, self._store, child.log, self._mask)

    def _keep_checkpoint(self) -> None:
        """For the next attempt, which may be on another host. It comes also without: a checkpoint saves time only."""
        try:
            checkpoints.keep(self._store, self.document, self._checkpoints)
        except StoreError as error:
            log.warning("%s", error)

    def _follow(self, lane: Lane, child: Child) -> Document | None:
        """Waits for the child's end or result; the error for which it was killed, if it was."""
        now = time.monotonic()
        deadline = None if self._timeout is None else now + self._timeout
        look_at_log = None if self._on_log is None else now + LIVE_LOG_AFTER_SECONDS
        error: Document | None = None
        while True:
            if error is None and (self.cancelled.is_set() or (deadline is not None and now >= deadline)):
                error = verdicts.cancelled() if self.cancelled.is_set() else verdicts.timed_out(self._timeout or 0)
                lane.kill(child)
                deadline = now + KILL_GRACE_SECONDS + 1.0
            elif error is not None and deadline is not None and now >= deadline:
                kill_group(child.pid)  # The zygote is busy (importing?), or the kernel does not let go of the step.
                deadline = None
            if look_at_log is not None and now >= look_at_log:
                self._send_log(child)
                self._send_metrics(child)
                look_at_log = now + LIVE_LOG_EVERY_SECONDS
            moments = [moment for moment in (deadline, look_at_log) if moment is not None]
            if lane.wait(child, min(moments) - time.monotonic() if moments else None):
                return error
            now = time.monotonic()

    def _send_log(self, child: Child, final: bool = False) -> None:
        """Hands out what was written since the last time. At the end only when there was a first time."""
        if self._on_log is None or (final and not self._sent_bytes):
            return
        while self._on_log is not None and (data := os.pread(child.log, _LOG_CHUNK_BYTES, self._sent_bytes)):
            self._tell(data)
        if final:
            self._hand_out(self._shown.end())

    def _send_metrics(self, child: Child) -> None:
        """Hands out what was measured since the last time. The whole is in the result."""
        if self._on_metrics is None:
            return
        found, self._read_metrics = live.read(child.pid, self._read_metrics)
        try:
            if found:
                self._on_metrics(*self.key, found)
        except Exception:  # As for the log.
            self._on_metrics = None

    def _tell(self, data: bytes) -> None:
        self._hand_out(self._shown.feed(data))
        self._sent_bytes += len(data)

    def _hand_out(self, data: bytes) -> None:
        if self._on_log is None or not data:
            return
        try:
            self._on_log(*self.key, data)
        except Exception:  # The live log is a convenience; whoever takes it must not be able to break the step.
            self._on_log = None


def kill_group(pid: int) -> None:
    """Kills the process group of a step child that its zygote has not reaped."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _said(child: Child) -> bytes | None:
    """The child's answer, when it gave one: empty, where it did not come to its end. Never waits for a child that is
    dead: another process may hold its end."""
    child.talk.setblocking(False)
    try:
        if not child.talk.recv(1, socket.MSG_PEEK):
            return None
    except (BlockingIOError, ConnectionResetError):
        return None
    child.talk.settimeout(_ANSWER_SECONDS)
    try:
        return receive_bytes(child.talk, _ANSWER_BYTES)
    except (TimeoutError, MessageTooLong):
        return b""


def _answer(data: bytes, document: Document) -> leave.Answer:
    """What a child said, when it is an answer to this document. Raises `InputError`."""
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        raise InputError(f"step {document['path']!r} left a result that is not JSON") from None
    if not isinstance(answer, dict):
        raise InputError(f"step {document['path']!r} left a result that is no object")
    html, checkpoint = answer.get("html"), answer.get("checkpoint")
    if not isinstance(html, str | None) or not isinstance(checkpoint, str | None):
        raise InputError(f"step {document['path']!r} left a report or a checkpoint that is none")
    return {"result": check_result(answer.get("result"), document), "html": html, "checkpoint": checkpoint}
