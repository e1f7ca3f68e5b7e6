"""Pods that ended: each is concluded, told to the engine, told again until that took note, and removed after a while.

What ends within a moment is told together, with one question and one message for each run, by a thread that does
nothing else. What takes longer, a log to keep or a cause to find, is done by a few others, so that it keeps nobody
waiting, and is begun again only once it is over. Redis says whether an attempt is still waited for, so that a new
watcher tells nothing that was told.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from redis.exceptions import RedisError

from celesta.errors import CelestaError
from workers.engine import Engine
from workers.engine.external import Launched, vouch
from workers.engine.pace import BATCH_STEPS
from workers.executors.kubernetes.cluster import Cluster
from workers.executors.kubernetes.endings import conclude, keep_log, speaks_for_itself
from workers.executors.kubernetes.labels import PLACE, Attempt

log = logging.getLogger(__name__)

Document = dict[str, Any]
Finish = Callable[[str, Sequence[tuple[str, str]]], bool]
"""Sends the message that attempts have ended: run, (node, token) each."""

THREADS = 8
TELL_AGAIN_SECONDS = 10.0
GATHER_SECONDS = 0.05
"""After an end was told, those that come sooner than this are told together. One that comes alone waits for nothing."""


@dataclass
class End:
    """A pod that ended, or is given up (`error`)."""

    pod: Document
    attempt: Attempt
    gone: bool = False
    error: Document | None = None
    at: float = field(default_factory=monotonic)
    tried_at: float = field(default_factory=monotonic)
    again: bool = False
    """It was told before, and nobody took note."""
    busy: bool = False
    """It is about to be told or concluded, or its pod to be removed."""
    settled: bool = False
    """Nobody waits for it any more."""

    @property
    def key(self) -> tuple[str, str]:
        return self.attempt.node, self.attempt.token

    @property
    def is_plain(self) -> bool:
        """Whether whoever is told finds the result, so that there is nothing to conclude here."""
        return not (self.gone or self.error or self.again) and speaks_for_itself(self.pod, self.attempt)


class Ends:
    """All ended pods of which the watcher knows, by uid."""

    def __init__(self, engine: Engine, cluster: Cluster, finish: Finish, keep_seconds: float) -> None:
        self._engine = engine
        self._cluster = cluster
        self._finish = finish
        self._keep_seconds = keep_seconds
        self._known: dict[str, End] = {}
        self._due: dict[str, list[End]] = {}
        """What is still to be told, by run."""
        self._telling = False
        self._lock = threading.Lock()
        self._teller = ThreadPoolExecutor(1, thread_name_prefix="ends: teller")
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="ends")

    def __contains__(self, uid: str) -> bool:
        return uid in self._known

    def __len__(self) -> int:
        return len(self._known)

    def close(self) -> None:
        self._teller.shutdown(wait=False, cancel_futures=True)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def note(self, pod: Document, attempt: Attempt, *, gone: bool = False, error: Document | None = None) -> None:
        """Takes note of a pod that ended. Of one that is known already only that it is gone now."""
        uid = pod["metadata"]["uid"]
        with self._lock:
            known = self._known.get(uid)
            if known is not None:
                known.gone = known.gone or gone
                return
            end = self._known[uid] = End(pod, attempt, gone, error)
        self._try(end)

    def given_up(self) -> list[tuple[Document, str]]:
        """The pods that were given up and are not known to be gone, each with the reason in words."""
        known = list(self._known.values())
        return [(end.pod, end.error["message"]) for end in known if end.error is not None and not end.gone]

    def go_on(self) -> None:
        """Tells again what nobody has heard, and lets go of what is over. Called about every second."""
        now = monotonic()
        for uid, end in list(self._known.items()):
            rested = not end.busy and now - end.tried_at >= TELL_AGAIN_SECONDS
            if end.settled and end.gone:
                del self._known[uid]
            elif not end.settled and rested:
                end.again = True
                self._try(end)
            elif end.settled and rested and now - end.at >= self._keep_seconds:
                end.busy = True
                self._pool.submit(self._remove, end)

    def _try(self, end: End) -> None:
        end.busy = True
        with self._lock:
            self._due.setdefault(end.attempt.run, []).append(end)
            if self._telling:
                return
            self._telling = True
        self._teller.submit(self._tell_due)

    def _tell_due(self) -> None:
        while True:
            with self._lock:
                due, self._due = self._due, {}
                self._telling = bool(due)
            if not due:
                return
            for run, ends in due.items():
                for start in range(0, len(ends), BATCH_STEPS):
                    self._tell(run, ends[start : start + BATCH_STEPS])
            time.sleep(GATHER_SECONDS)

    def _tell(self, run: str, ends: list[End]) -> None:
        """Asks which of these ends are waited for, and tells them or has them concluded."""
        left = ends
        try:
            waited_for = [Launched(*end.key, end.attempt.cache_key) for end in ends]
            answers = vouch(self._engine, run, waited_for, PLACE) or ["unknown"] * len(ends)
            plain = [end for end, answer in zip(ends, answers, strict=True) if answer == "ok" and end.is_plain]
            left = plain
            for end, answer in zip(ends, answers, strict=True):
                if end not in plain:
                    self._pool.submit(self._conclude, end, answer)
            if plain:
                self._finish(run, [end.key for end in plain])
                self._rest(*plain)
        except Exception:  # Nothing may end this thread: it is the only one that tells.
            log.exception("run %s: %d ends are told later", run, len(left))
            self._rest(*left)

    def _rest(self, *ends: End) -> None:
        for end in ends:
            end.busy, end.tried_at = False, monotonic()

    def _conclude(self, end: End, answer: str) -> None:
        attempt, store = end.attempt, self._engine.store
        try:
            if answer == "cancelled" and not end.gone:
                keep_log(self._cluster, store, end.pod, attempt)
            elif answer in ("ok", "unknown"):
                conclude(self._cluster, store, end.pod, attempt, deleted=end.gone, error=end.error)
            if answer in ("ok", "cancelled"):
                self._finish(attempt.run, [end.key])
            else:
                end.settled = True  # superseded; or the run is over, or finds the result when it is rebuilt
        except (CelestaError, RedisError, OSError, ValueError) as error:
            log.warning("run %s: the end of step %s is told later: %s", attempt.run, attempt.path, error)
        finally:
            self._rest(end)

    def _remove(self, end: End) -> None:
        metadata = end.pod["metadata"]
        try:
            end.gone = not self._cluster.delete_pod(metadata["namespace"], metadata["name"], metadata["uid"])
        except CelestaError as error:
            log.warning("pod %s is removed later: %s", metadata["name"], error)
        finally:
            self._rest(end)
