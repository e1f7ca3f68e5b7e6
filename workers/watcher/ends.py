"""Pods that ended: each is concluded, told to the engine, told again until that took note, and removed after a while.

A few threads do this, so that one slow store or log keeps nobody else waiting. Redis says whether an attempt is still
waited for, so that a new watcher tells nothing that was told.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from redis.exceptions import RedisError

from celesta.errors import CelestaError
from workers.engine import Engine
from workers.engine.external import Launched, vouch
from workers.executors.kubernetes.cluster import Cluster
from workers.executors.kubernetes.endings import conclude, keep_log
from workers.executors.kubernetes.labels import PLACE, Attempt

log = logging.getLogger(__name__)

Document = dict[str, Any]
Finish = Callable[[str, str, str], bool]
"""Sends the message that an attempt has ended: run, node, token."""

THREADS = 8
TELL_AGAIN_SECONDS = 10.0


@dataclass
class End:
    """A pod that ended, or is given up (`error`)."""

    pod: Document
    attempt: Attempt
    gone: bool = False
    error: Document | None = None
    at: float = field(default_factory=monotonic)
    tried_at: float = -TELL_AGAIN_SECONDS
    settled: bool = False
    """Nobody waits for it any more."""


class Ends:
    """All ended pods of which the watcher knows, by uid."""

    def __init__(self, engine: Engine, cluster: Cluster, finish: Finish, keep_seconds: float) -> None:
        self._engine = engine
        self._cluster = cluster
        self._finish = finish
        self._keep_seconds = keep_seconds
        self._known: dict[str, End] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="ends")

    def __contains__(self, uid: str) -> bool:
        return uid in self._known

    def __len__(self) -> int:
        return len(self._known)

    def close(self) -> None:
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

    def go_on(self) -> None:
        """Tells again what nobody has heard, and lets go of what is over. Called about every second."""
        now = monotonic()
        for uid, end in list(self._known.items()):
            if end.settled and end.gone:
                del self._known[uid]
            elif not end.settled and now - end.tried_at >= TELL_AGAIN_SECONDS:
                self._try(end)
            elif end.settled and now - end.at >= self._keep_seconds and now - end.tried_at >= TELL_AGAIN_SECONDS:
                end.tried_at = now
                self._pool.submit(self._remove, end)

    def _try(self, end: End) -> None:
        end.tried_at = monotonic()
        self._pool.submit(self._tell, end)

    def _tell(self, end: End) -> None:
        attempt = end.attempt
        try:
            waited_for = Launched(attempt.node, attempt.token, attempt.cache_key)
            told = vouch(self._engine, attempt.run, [waited_for], PLACE)
            if told == ["stale"]:
                end.settled = True
                return
            store = self._engine.store
            if told == ["cancelled"]:
                if not end.gone:
                    keep_log(self._cluster, store, end.pod, attempt)
            else:
                conclude(self._cluster, store, end.pod, attempt, deleted=end.gone, error=end.error)
            if told:
                self._finish(attempt.run, attempt.node, attempt.token)
            else:
                end.settled = True  # the run is over and forgotten, or finds the result when it is rebuilt
        except (CelestaError, RedisError, OSError, ValueError) as error:
            log.warning("run %s: the end of step %s is told later: %s", attempt.run, attempt.path, error)

    def _remove(self, end: End) -> None:
        metadata = end.pod["metadata"]
        try:
            end.gone = not self._cluster.delete_pod(metadata["namespace"], metadata["name"], metadata["uid"])
        except CelestaError as error:
            log.warning("pod %s is removed later: %s", metadata["name"], error)
