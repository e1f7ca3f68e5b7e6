"""The program of a step's container: one step in a child process, and this process above it.

Called by `python -m celesta.runtime`. Owns what must outlive the user's code: the time-out, the log (shown on the
container's own stdout and kept in the store, now and then also while the step runs), signals, and the end of a step
that died. Its end is a result document in the store, except at SIGTERM: whoever sent it knows why, and says so.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from celesta.errors import CelestaError, StoreError
from celesta.runtime import checkpoints, enter, leave, verdicts
from celesta.runtime.failures import error_document, kind_of
from celesta.runtime.masking import Mask, Stream, mask_of
from celesta.runtime.processes import adopt_orphans, die_with_parent, end_children, kill_tree, name_process, oom_kills
from celesta.runtime.step import perform_step
from celesta.store.base import Store, prefix_of

SUCCEEDED, FAILED, SYSTEM, STOPPED = 0, 1, 3, 128 + signal.SIGTERM
"""Exit statuses; 2 is wrong usage."""
TICK_SECONDS = 0.5
KEEP_LOG_SECONDS = 15.0
KEPT_OFTEN_BYTES = 8 << 20
"""A longer log is kept at the end only: it goes up as a whole each time."""
KILL_SECONDS = 1.0

_HANDLED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)
Document = dict[str, Any]


class Supervisor:
    """One attempt in a container."""

    def __init__(
        self,
        document: Document,
        open_store: Callable[[], Store],
        place: Path,
        *,
        home: Path,
        grace_seconds: float = 20.0,
        travels: bool = False,
        tick: Callable[[], object] = lambda: None,
    ) -> None:
        """`open_store` opens a store of its own for each process. `home` has bundles and checkpoints; a container that
        takes its home along (`travels`) keeps checkpoints in the store. `tick` is called now and then."""
        self.document, self.place, self.home, self.tick = document, place, home, tick
        self.store, self._open_store = open_store(), open_store
        self._grace_seconds, self._travels = grace_seconds, travels
        self._prefix = prefix_of(document)
        self._worker = f"{os.uname().nodename}:{os.getpid()}"
        self._log = enter.open_log(place / "log.txt")
        self._shown_bytes = self._kept_bytes = 0
        self._mask: Mask | None = None
        self._shown = Stream(None)
        self._keep_at = time.monotonic() + KEEP_LOG_SECONDS
        self._error: Document | None = None
        self._stopped = False

    def run(self, bundle: Callable[[], str | None]) -> int:
        """Runs the step to its end; the exit status. `bundle` gives the folder of the unpacked code."""
        started = time.monotonic()
        try:
            secrets = enter.secrets(self.document, os.environ)
            self._mask = mask_of(secrets, self.place)
            self._shown = Stream(self._mask)
            root = bundle()
            if self._travels:
                checkpoints.fetch(self.store, self.document, self.home / "checkpoints")
        except CelestaError as error:
            self._tell(error)
            self._conclude(error_document(error, kind_of(error)), started)
            return SYSTEM if error.kind == "system" else FAILED
        before = oom_kills()
        status = self._watch(self._start(secrets, root), started)
        self._show()
        _write(self._shown.end())
        return self._end(status, oom_kills() > before, started)

    # The child

    def _start(self, secrets: Mapping[str, str], root: str | None) -> int:
        signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        for number in _HANDLED:  # The first process of a container is not sent what it has no handler for.
            signal.signal(number, lambda *_: None)
        adopt_orphans()
        me, pid = os.getpid(), os.fork()
        return pid or self._be_the_step(me, secrets, root)

    def _be_the_step(self, parent: int, secrets: Mapping[str, str], root: str | None) -> NoReturn:
        status = 1
        try:
            os.setsid()
            die_with_parent(parent)
            name_process("celesta-step")
            for number in _HANDLED:
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
            enter.redirect_output(self._log)
            enter.open_text_streams()
            faulthandler.enable(file=2)
            work = self.place / "work"
            work.mkdir()
            os.chdir(work)
            if root is not None:
                enter.put_on_path(root)
            os.environ.update(self.document.get("env") or {})
            answer = perform_step(
                self.document,
                self._open_store(),
                log=self._log,
                into=os.fspath(self.place / "inputs"),
                root=root,
                secrets=secrets,
                checkpoints=os.fspath(self.home / "checkpoints"),
                worker=self._worker,
            )
            draft = self.place / "answer.draft"
            draft.write_bytes(json.dumps(answer).encode("utf-8", "surrogatepass"))
            draft.rename(self._answer_path)
            status = 0
        except BaseException:
            traceback.print_exc()  # A fault of ours: the step's log is where it can be seen.
        finally:
            os._exit(status)

    @property
    def _answer_path(self) -> Path:
        return self.place / "answer.json"

    # While it runs

    def _watch(self, child: int, started: float) -> int:
        """Waits for the child's end; its wait status. What it left behind is ended too."""
        timeout = self.document.get("timeout_seconds")
        deadline = None if timeout is None else started + timeout
        kill_at: float | None = None
        while True:
            moments = [moment for moment in (deadline, kill_at) if moment is not None]
            wait = min([TICK_SECONDS, *(moment - time.monotonic() for moment in moments)])
            got = signal.sigtimedwait(_HANDLED, max(0.0, wait))
            if (status := _reap(child)) is not None:
                end_children(KILL_SECONDS)
                return status
            now = time.monotonic()
            if got is not None and got.si_signo != signal.SIGCHLD and not self._stopped:
                self._stopped, kill_at = True, now + self._grace_seconds
                kill_tree(child, signal.SIGTERM)
            if deadline is not None and now >= deadline:
                self._error, deadline, kill_at = verdicts.timed_out(timeout or 0), None, now + KILL_SECONDS
                kill_tree(child, signal.SIGTERM)
            if kill_at is not None and now >= kill_at:
                kill_tree(child)
                kill_at = None
            self._show()
            with contextlib.suppress(CelestaError):  # The next time, or the end, will do.
                self.tick()
                self._keep_now_and_then()

    def _show(self) -> None:
        """What the step has written since the last time, on the container's own stdout."""
        with contextlib.suppress(OSError):
            while data := os.pread(self._log, 1 << 16, self._shown_bytes):
                self._shown_bytes += len(data)
                _write(self._shown.feed(data))

    def _keep_now_and_then(self) -> None:
        """The log as far as it is, for a container that is not there any more when the step ends."""
        if time.monotonic() < self._keep_at:
            return
        self._keep_at = time.monotonic() + KEEP_LOG_SECONDS
        size = leave.log_size(self._log)
        if self._kept_bytes < size <= KEPT_OFTEN_BYTES:
            self._keep_log()
            self._kept_bytes = size

    def _keep_log(self) -> None:
        leave.keep_log({"log_bytes": leave.log_size(self._log)}, self.store, self._prefix, self._log, self._mask)

    # At its end

    def _end(self, status: int, out_of_memory: bool, started: float) -> int:
        answer = self._answer()
        succeeded = answer is not None and answer["result"]["status"] == "succeeded"
        try:
            if not succeeded and self._travels:
                with contextlib.suppress(StoreError):  # A checkpoint saves time only.
                    checkpoints.keep(self.store, self.document, self.home / "checkpoints")
            if self._stopped and not succeeded:
                self._keep_log()
                return STOPPED
            if answer is not None and (succeeded or self._error is None):
                kept = leave.keep(answer, self.document, self.store, self._log, self._mask)
            else:
                ended = {"status": status, "out_of_memory": out_of_memory}
                kept = self._conclude(self._error or verdicts.died(ended, self._log), started)
        except StoreError as error:
            self._tell(error)
            return SYSTEM
        return SUCCEEDED if kept["status"] == "succeeded" else FAILED

    def _answer(self) -> leave.Answer | None:
        with contextlib.suppress(OSError, ValueError):
            answer: leave.Answer = json.loads(self._answer_path.read_bytes().decode("utf-8", "surrogatepass"))
            return answer
        return None

    def _tell(self, error: CelestaError) -> None:
        sys.stderr.write(f"step {self.document['path']!r}: {error}\n")

    def _conclude(self, error: Document, started: float) -> Document:
        return verdicts.conclude(self.document, self.store, error, self._log, started, self._worker, self._mask)


def _write(data: bytes) -> None:
    """On the container's own stdout, all of it, when somebody listens."""
    with contextlib.suppress(OSError):
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]


def _reap(child: int) -> int | None:
    """The wait status of the child, when it has ended. Orphans of the container end at this process too."""
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            if found[0] == child:
                return found[1]
    return None
