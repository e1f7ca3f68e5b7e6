"""Pods that go on: their leases are kept, and those that nobody waits for, or that will never start, are removed.

An attempt that was superseded, a run that was cancelled, a run that is over: what Redis (and, for runs that it does not
know, the database) says decides; a doubt keeps the pod.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from time import monotonic
from typing import Any

from app.cluster_config import ClusterConfig
from workers.engine import Engine, keys
from workers.engine.external import Launched, vouch
from workers.executors.kubernetes.causes import cause_of, idle_seconds, overstays, overtime, stuck, trouble, unstartable
from workers.executors.kubernetes.cluster import Cluster
from workers.executors.kubernetes.endings import has_ended
from workers.executors.kubernetes.labels import PLACE, Attempt, attempt_of
from workers.watcher.chores import Chores
from workers.watcher.ends import Ends
from workers.watcher.waits import Waits

log = logging.getLogger(__name__)

Document = dict[str, Any]
Living = tuple[Document, Attempt]

VOUCH_EVERY_SECONDS = 10.0
LOOK_EVERY_SECONDS = 2.0
AT_ONCE = 500
LOOK_AFTER_SECONDS = 30.0
"""A pod on a node of which no container has started after this is asked about."""
ORPHANED_AFTER_SECONDS = 60.0
"""A run that Redis does not know may be about to be rebuilt."""


class Keeping:
    """The pods that live, as far as one watcher is concerned."""

    def __init__(self, engine: Engine, cluster: Cluster, ends: Ends, config: ClusterConfig) -> None:
        self._engine = engine
        self._cluster = cluster
        self._ends = ends
        self._config = config
        self._vouched_at = self._looked_at = -VOUCH_EVERY_SECONDS
        self._chores = Chores()
        self._waits = Waits(engine.client)
        self._words: dict[str, str] = {}
        """Of pods that are on a node and do not start, why: by uid."""
        self.unknown: dict[str, float] = {}
        """Runs of living pods that Redis does not know, and since when."""

    def close(self) -> None:
        self._chores.close()

    def tick(self, pods: Iterable[Document]) -> None:
        """About every second, with all pods. Raises `RedisError`."""
        living = defaultdict(list)
        for pod, attempt in self._living(pods):
            living[attempt.run].append((pod, attempt))
        self._chores.forget()
        now = monotonic()
        if now - self._vouched_at >= VOUCH_EVERY_SECONDS:
            self._vouched_at = now
            due = list(living)
        else:
            due = self._cancelled(list(living))
        for run in due:
            self._vouch(run, living[run])
        self.unknown = {run: since for run, since in self.unknown.items() if run in living}
        if now - self._looked_at >= LOOK_EVERY_SECONDS:
            self._looked_at = now
            every = [one for group in living.values() for one in group]
            uids = {_uid(pod) for pod, _ in every}
            self._words = {uid: words for uid, words in list(self._words.items()) if uid in uids}
            self._waits.tell(every, self._words)
            self._give_up(every)
            for pod, why in self._ends.given_up():
                self._remove(pod, why)

    def remove_orphans(self, pods: Iterable[Document], unfinished: Iterable[str]) -> None:
        """Removes the pods of runs that are over, by what the database says of those that Redis does not know."""
        alive = set(unfinished)
        before = monotonic() - ORPHANED_AFTER_SECONDS
        over = {run for run, since in self.unknown.items() if run not in alive and since <= before}
        for pod, attempt in self._living(pods):
            if attempt.run in over:
                self._remove(pod, "its run is over")

    def _living(self, pods: Iterable[Document]) -> Iterator[Living]:
        for pod in pods:
            if not has_ended(pod) and pod["metadata"]["uid"] not in self._ends:
                attempt = attempt_of(pod)
                if attempt is not None:
                    yield pod, attempt

    def _cancelled(self, runs: list[str]) -> list[str]:
        pipe = self._engine.client.pipeline(transaction=False)
        for run in runs:
            pipe.hget(keys.meta(run), "control")
        return [run for run, control in zip(runs, pipe.execute(), strict=True) if control == b"cancel"]

    def _vouch(self, run: str, living: list[Living]) -> None:
        for start in range(0, len(living), AT_ONCE):
            part = living[start : start + AT_ONCE]
            attempts = [Launched(attempt.node, attempt.token, attempt.cache_key) for _, attempt in part]
            answers = vouch(self._engine, run, attempts, PLACE)
            if not answers:
                self.unknown.setdefault(run, monotonic())
                return
            self.unknown.pop(run, None)
            for (pod, _), answer in zip(part, answers, strict=True):
                if answer != "ok":
                    self._remove(pod, f"its attempt is {answer}")

    def _give_up(self, living: Iterable[Living]) -> None:
        """Gives up pods that will not start, that run for too long, or of whose end no node can tell any more."""
        for pod, attempt in living:
            error = None
            if overstays(pod):
                error = cause_of(pod, attempt.kind, deleted=True)
            elif (pod["status"].get("phase") or "Pending") == "Pending":
                error = stuck(pod, self._config)
                if error is None and idle_seconds(pod) >= LOOK_AFTER_SECONDS:
                    self._chores.do(f"looking at pod {pod['metadata']['name']}", partial(self._look, pod, attempt))
            elif attempt.kind == "container":
                error = overtime(pod, attempt.timeout_seconds)
            if error is not None:
                self._ends.note(pod, attempt, error=error)

    def _look(self, pod: Document, attempt: Attempt) -> None:
        """Asks the cluster why a pod on a node does not start, which only its events say. Raises `ClusterError`."""
        metadata = pod["metadata"]
        events = self._cluster.events_of(metadata["namespace"], metadata["uid"])
        now = self._cluster.pod(metadata["namespace"], metadata["name"])
        if now is None or _uid(now) != metadata["uid"] or not idle_seconds(now):
            return
        words = self._words[metadata["uid"]] = trouble(events)
        if words and idle_seconds(now) >= self._config.unschedulable_seconds:
            self._ends.note(pod, attempt, error=unstartable(words))

    def _remove(self, pod: Document, why: str) -> None:
        metadata = pod["metadata"]
        delete = partial(self._cluster.delete_pod, metadata["namespace"], metadata["name"], metadata["uid"])

        def remove() -> None:
            log.info("pod %s is removed: %s", metadata["name"], why)
            delete()

        self._chores.do(f"removing pod {metadata['uid']}", remove)


def _uid(pod: Document) -> str:
    return str(pod["metadata"]["uid"])
