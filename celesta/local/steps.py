"""The steps of a local run: each called in this process, by the same code as in a step's own process.

Called by `celesta.local.run`. Owns what surrounds a call here: an empty scratch folder that is the working directory
while the step runs, its variables and secrets, its log (what it prints goes to stderr as well, so that stdout stays the
caller's), its retries, and its time: a step that has only so much is called in a child process. Results, logs and
reports go to the store as those of any run.
"""

import contextlib
import io
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from celesta import retries
from celesta.errors import ContextError
from celesta.local import child
from celesta.runtime import verdicts
from celesta.runtime.call import call_step
from celesta.runtime.context import StepContext
from celesta.runtime.enter import load_function, secret_sources, secrets, variables
from celesta.runtime.leave import answer_of, keep
from celesta.runtime.masking import Mask, Stream
from celesta.store.base import Store

Document = dict[str, Any]
OnEvent = Callable[..., None]


class LocalSteps:
    """Runs the steps of one run; a context manager, which removes the scratch folder at its end."""

    def __init__(self, run: str, store: Store, home: Path, on_event: OnEvent) -> None:
        self.run_id, self.store, self.on_event = run, store, on_event
        self.checkpoints = home / "local" / "checkpoints"
        self._parent = home / "scratch"
        self.worker = f"local:{os.getpid()}"
        self._shown_from = str(Path.cwd())  # files in messages are named as seen from where the user is

    def __enter__(self) -> "LocalSteps":
        self._parent.mkdir(parents=True, exist_ok=True)
        self.scratch = Path(tempfile.mkdtemp(prefix=f"{self.run_id}-", dir=self._parent))
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.scratch, ignore_errors=True)

    def run(
        self, node: str, path: str, task: Document, inputs: Mapping[str, Any], key: str | None, until: float | None
    ) -> Document | None:
        """The result document of the step's last attempt. None: the time of the run was over before (`until`, by
        `time.monotonic`)."""
        policy = task.get("retry") or {}
        used: Counter[str] = Counter()
        attempt = 1
        while True:
            document = self._document(node, path, task, inputs, key, attempt)
            self.on_event("step.running", node=node, path=path, token=document["token"], attempt=attempt)
            result = self._attempt(document, task.get("timeout_seconds"), until)
            if result is None or result["status"] == "succeeded":
                return result
            kind, most = retries.budget(policy, result["error"])
            if used[kind] >= most:
                return result
            attempt += 1
            pause = retries.wait_seconds(policy, kind, used[kind]) * retries.spread(policy)
            used[kind] += 1
            self._tell_retry(document, result, attempt, pause)
            if not slept(pause, until):
                return None

    def _document(
        self, node: str, path: str, task: Document, inputs: Mapping[str, Any], key: str | None, attempt: int
    ) -> Document:
        return {
            "step_document": 1,
            "run": self.run_id,
            "project": "local",
            "node": node,
            "path": path,
            "token": f"1.{attempt}",
            "attempt": attempt,
            "idempotency_key": f"{self.run_id}/{path}",
            "kind": task["kind"],
            "entrypoint": task["entrypoint"],
            "bundle": None,
            "interface": task["interface"],
            "inputs": dict(inputs),
            "env": task.get("env") or {},
            "secrets": secret_sources(task.get("secrets") or ()),
            "store_url": self.store.url,
            "cache_key": key,
        }

    def _attempt(self, document: Document, timeout: float | None, until: float | None) -> Document | None:
        """The result document of one attempt. None: the run's time was over before."""
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        (folder / "work").mkdir()
        left = None if until is None else until - time.monotonic()
        seconds = min((limit for limit in (timeout, left) if limit is not None), default=None)
        try:
            with (folder / "log.txt").open("w+b", buffering=0) as log:
                if seconds is None:
                    return self._call(document, folder, log)
                started = time.monotonic()
                status = child.within(seconds, lambda: self._call(document, folder, log))
                if status is None and seconds != timeout:
                    return None
                return self._ended(document, log.fileno(), status, timeout or 0, started)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _ended(self, document: Document, log: int, status: int | None, timeout: float, started: float) -> Document:
        """What an attempt in a child came to: by its own word, or by how its process ended."""
        ending = None if status is None else {"status": status, "out_of_memory": False}
        error = verdicts.timed_out(timeout) if ending is None else verdicts.died(ending, log)
        return verdicts.conclude(document, self.store, error, log, started, self.worker)

    def _call(self, document: Document, folder: Path, log: io.FileIO) -> Document:
        values, refusal = _secrets(document)
        context = StepContext(
            self.run_id,
            document["path"],
            document["attempt"],
            idempotency_key=document["idempotency_key"],
            secrets=values,
            checkpoints=self.checkpoints,
        )

        def function() -> Any:
            if refusal is not None:  # raised inside the call, where it is the step's failure
                raise refusal
            return load_function(document["entrypoint"], document["path"])

        with (
            _output_to(log, context.mask),
            _variables(document["env"] | variables(document)),
            contextlib.chdir(folder / "work"),
        ):
            result = call_step(
                document,
                self.store,
                function=function,
                context=context,
                into=folder / "inputs",
                worker=self.worker,
                root=self._shown_from,
            )
        return keep(answer_of(result, context, log.fileno()), document, self.store, log.fileno())

    def _tell_retry(self, document: Document, result: Document, attempt: int, pause: float) -> None:
        self.on_event(
            "step.retry",
            node=document["node"],
            path=document["path"],
            token=document["token"],
            reason=result["error"]["kind"],
            error=result["error"],
            next_attempt=attempt,
            at_or_after_ms=int((time.time() + pause) * 1000),
        )


def slept(seconds: float, until: float | None) -> bool:
    """Sleeps, but not beyond a moment; whether it was as long as it should be."""
    left = seconds if until is None else max(0.0, until - time.monotonic())
    time.sleep(min(seconds, left))
    return left >= seconds


def _secrets(document: Document) -> tuple[dict[str, str], ContextError | None]:
    """The values of the step's secrets, or why there are none."""
    try:
        return secrets(document, os.environ), None
    except ContextError as error:
        return {}, error


class _Tee(io.RawIOBase):
    """Bytes that go to a log as well as to a stream of text, without what the mask hides."""

    def __init__(self, log: io.FileIO, stream: TextIO, mask: Mask | None) -> None:
        self._log, self._stream, self._shown = log, stream, Stream(mask)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        written = bytes(data)
        self._say(self._shown.feed(written))
        return len(written)

    def end(self) -> None:
        """Says what the mask has held back."""
        self._say(self._shown.end())

    def _say(self, data: bytes) -> None:
        if data:
            self._log.write(data)
            self._stream.write(data.decode("utf-8", "replace"))
            self._stream.flush()


@contextlib.contextmanager
def _output_to(log: io.FileIO, mask: Mask | None) -> Iterator[None]:
    """What Python prints goes to the log and to stderr; what C libraries and child processes print, to stderr."""
    both = _Tee(log, sys.stderr, mask)
    tee = io.TextIOWrapper(both, "utf-8", "backslashreplace", write_through=True)  # type: ignore[type-var]
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(tee), contextlib.redirect_stderr(tee):
            yield
    finally:
        both.end()
        os.dup2(stdout, 1)
        os.close(stdout)


@contextlib.contextmanager
def _variables(env: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in env}
    os.environ.update(env)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
