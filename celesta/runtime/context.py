"""What a running step may know and say about itself: `celesta.current()`.

Owns the context object and how the current one is found. Set by `celesta.runtime.step` for a process that runs one
step, by `celesta.local` around a call in its own process, and by a plain call of a task outside any run.
Refuses to answer where there is no step.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
import operator
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, SupportsFloat, SupportsIndex
from urllib.parse import quote

from celesta.errors import ContextError
from celesta.runtime.masking import mask_of
from celesta.store.base import path_component

MAX_METRICS = 10_000
MAX_NAME = 200


def checkpoint_folder(root: str | os.PathLike[str], run_id: str, step_path: str) -> Path:
    """Where the checkpoint of a step is, below the folder of all of a host's."""
    return Path(root) / quote(run_id, safe="") / path_component(step_path)


def last_user(folder: Path) -> Path:
    """Where the token of the attempt stands that had this checkpoint last; no step has such a path."""
    return folder.parent / ".tokens" / folder.name


class StepContext:
    """One attempt at a step, as its own code sees it. Safe to use from the threads of the step."""

    def __init__(
        self,
        run_id: str,
        step_path: str,
        attempt: int,
        *,
        idempotency_key: str = "",
        secrets: Mapping[str, str] | None = None,
        checkpoints: str | os.PathLike[str] = "",
        token: str = "",
        on_metric: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.run_id = run_id
        self.step_path = step_path
        self.attempt = attempt
        self.idempotency_key = idempotency_key or f"{run_id}/{step_path}"
        self.metrics: list[dict[str, Any]] = []
        self.html: str | None = None
        self._secrets = {} if secrets is None else secrets
        self.mask = mask_of(secrets) if secrets else None
        """Hides the values of the secrets; None where there are none."""
        self._checkpoints = checkpoints
        self._token = token
        self._on_metric = on_metric
        self._checkpoint: Path | None = None

    def log_metric(self, name: str, value: SupportsFloat | SupportsIndex, *, step: SupportsIndex | None = None) -> None:
        """Records a number under a name; `step` is its place on the x-axis (an epoch, a batch).

        What is not finite cannot be drawn: it goes to the log instead. So does what comes after the 10,000th.
        """
        number, place = float(value), None if step is None else _place(name, step)
        if not math.isfinite(number) or len(self.metrics) >= MAX_METRICS:
            self._note(f"metric {name} = {number} (step {step}) is not recorded: " + _why_not(number))
            return
        at_ms = time.time_ns() // 1_000_000
        metric = {"name": self._masked(str(name))[:MAX_NAME], "value": number, "step": place, "at_ms": at_ms}
        self.metrics.append(metric)
        if self._on_metric is not None:
            self._on_metric(metric)

    def log_text(self, text: str) -> None:
        """Writes a line to the step's log."""
        self._note(text)

    def report(self, html: str) -> None:
        """Keeps a page of HTML with the step; a second call replaces the first."""
        if not isinstance(html, str):
            raise ContextError(f"report() takes a string of HTML, not {type(html).__name__}")
        self.html = self._masked(html)

    @property
    def checkpoint(self) -> Path:
        """A directory that the next attempts at this step find again, on any host; gone when one succeeds."""
        if self._checkpoint is None:
            self._checkpoint = checkpoint_folder(self._checkpoints or "checkpoints", self.run_id, self.step_path)
            self._checkpoint.mkdir(parents=True, exist_ok=True)
            if self._token:
                marker = last_user(self._checkpoint)
                marker.parent.mkdir(exist_ok=True)
                marker.write_text(self._token)
        return self._checkpoint

    @property
    def checkpoint_made(self) -> str | None:
        """Where the checkpoint is, when the step has asked for it."""
        return None if self._checkpoint is None else os.fspath(self._checkpoint)

    def discard_checkpoint(self) -> None:
        """Removes the checkpoint of a plain call, when there is one. Of steps `celesta.runtime.leave` does."""
        if self._checkpoint is not None:
            import shutil

            shutil.rmtree(self._checkpoint, ignore_errors=True)

    def secret(self, name: str) -> str:
        """The value of a secret that the task declares."""
        try:
            return self._secrets[name]
        except KeyError:
            known = ", ".join(sorted(self._secrets)) or "none"
            raise ContextError(
                f"secret {name!r} is not given to step {self.step_path!r} (it has: {known}); "
                f"declare it with @task(secrets=[{name!r}])"
            ) from None

    def _masked(self, text: str) -> str:
        return text if self.mask is None else self.mask.text(text)

    def _note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


class PlainContext(StepContext):
    """The context of a task that is called as a plain function: it takes everything and keeps nothing."""

    def __init__(self, task: str = "") -> None:
        super().__init__("", task, 1)
        self._secrets = os.environ

    @property
    def checkpoint(self) -> Path:
        if self._checkpoint is None:
            import tempfile

            self._checkpoint = Path(tempfile.mkdtemp(prefix="celesta-checkpoint-"))
        return self._checkpoint

    def _note(self, text: str) -> None:
        """A plain call prints nothing of its own."""


_active: contextvars.ContextVar[StepContext | None] = contextvars.ContextVar("celesta_step", default=None)
# A process that runs one step: its threads, which inherit no context variables, find the step here.
_of_process: StepContext | None = None


def current() -> StepContext:
    """The step that is running: its run id, path, attempt, and where its metrics, report and checkpoint go."""
    found = _active.get() or _of_process
    if found is None:
        raise ContextError(
            "current() works inside a step only; call it in the body of a task, not where a module or workflow is built"
        )
    return found


class active:  # noqa: N801
    """Makes this the current step within the block, in this thread or coroutine.

    A class, because each step pays for the code it touches, and a generator is three times as much.
    """

    __slots__ = ("_context", "_mark")

    def __init__(self, context: StepContext) -> None:
        self._context = context

    def __enter__(self) -> StepContext:
        self._mark = _active.set(self._context)
        return self._context

    def __exit__(self, *_: object) -> None:
        _active.reset(self._mark)


@contextlib.contextmanager
def plain_call(task: str) -> Iterator[StepContext]:
    """A plain call of a task: inside a step that step's context goes on, elsewhere a harmless one stands in."""
    found = _active.get() or _of_process
    if found is not None:
        yield found
        return
    context = PlainContext(task)
    with active(context):
        try:
            yield context
        finally:
            context.discard_checkpoint()


def own_process(context: StepContext | None) -> None:
    """Makes this the step of the whole process, its threads included; None: it runs no step any more."""
    global _of_process
    _of_process = context


def _place(name: str, step: SupportsIndex) -> int:
    """The step as a plain integer of 64 bits, whatever library counted it."""
    try:
        place = operator.index(step)
    except TypeError:
        place = 1 << 64
    if not -(1 << 63) <= place < 1 << 63:
        raise ContextError(f"metric {name!r}: its step is a whole number of at most 64 bits, not {step!r:.100}")
    return place


def _why_not(number: float) -> str:
    return f"a step keeps {MAX_METRICS:,} metrics" if math.isfinite(number) else "it is not a finite number"
