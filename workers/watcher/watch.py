"""The loop of the watcher: leads or waits, has an informer in every namespace, and looks at what they know.

Once a second; what an informer tells of an end does not wait for that. All that fails is tried again at the next tick.
"""

import logging
import threading
from collections.abc import Callable
from itertools import chain
from time import monotonic
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError
from sqlalchemy.exc import OperationalError as DatabaseError

from app.cluster_config import ClusterConfig
from celesta.errors import CelestaError
from workers import alive, sources
from workers.engine import Engine, keys
from workers.engine.publishing import Publisher
from workers.executors.kubernetes.cluster import Cluster
from workers.executors.kubernetes.endings import has_ended
from workers.executors.kubernetes.informer import Informer
from workers.executors.kubernetes.labels import attempt_of, selector
from workers.lead import Lead
from workers.watcher.ends import Ends, Finish
from workers.watcher.keeping import Keeping
from workers.watcher.logs import Logs
from workers.watcher.pulse import Pulse

if TYPE_CHECKING:
    from workers.celery_app import CelestaApp

log = logging.getLogger(__name__)

Document = dict[str, Any]

TICK_SECONDS = 1.0
RECORD_EVERY_SECONDS = 15.0
"""How often the database is asked for projects and for runs that are over."""


Record = Callable[[], tuple[list[str], list[str]]]
"""Asks the database: the names of all projects, and the runs that have not ended."""


def run(app: "CelestaApp", stop: threading.Event, ready: Callable[[], None] = lambda: None) -> None:
    """Watches until told to stop. Raises `ConfigError` when no cluster can be found."""
    config = app.config

    def record() -> tuple[list[str], list[str]]:
        with sources.database(config):
            return sources.record()

    cluster = Cluster(config.cluster, connections=64)
    watcher = Watcher(app.engine, config.cluster, cluster, Publisher(app).finish, record)
    pulse = Pulse(watcher.lead, lambda: alive.touch(config))
    pulse.start()
    ready()
    while not stop.is_set():
        try:
            watcher.tick()
        except (RedisError, DatabaseError, CelestaError, OSError) as error:
            log.warning("the watcher comes again: %s", error)
        pulse.went_on()
        stop.wait(TICK_SECONDS)
    pulse.stop()
    watcher.stand_down()
    watcher.lead.resign()


class Watcher:
    """One candidate for the lead, and what it knows while it leads."""

    def __init__(self, engine: Engine, config: ClusterConfig, cluster: Cluster, finish: Finish, record: Record) -> None:
        self._engine = engine
        self._cluster = cluster
        self._config = config
        self._finish = finish
        self._record = record
        self.lead = Lead(engine.client, keys.WATCHER)
        self.informers: dict[str, Informer] = {}
        self._begin()

    def tick(self) -> None:
        """One round, if this one leads."""
        if not self.lead.held():
            if self.informers:
                log.warning("another watcher leads now")
                self.stand_down()
            return
        recorded = monotonic() - self._recorded_at >= RECORD_EVERY_SECONDS
        unfinished = self._read_record() if recorded else []
        self.ends.go_on()
        self.keeping.tick(self.pods())
        self.logs.tick(self.pod)
        if recorded and self.keeping.unknown:
            self.keeping.remove_orphans(self.pods(), unfinished)

    def stand_down(self) -> None:
        """Lets go of everything; nothing is lost by that."""
        for informer in self.informers.values():
            informer.stop.set()
        self.informers = {}
        self.ends.close()
        self.keeping.close()
        self._begin()

    def pods(self) -> list[Document]:
        return list(chain.from_iterable(list(informer.pods.values()) for informer in self.informers.values()))

    def pod(self, name: str) -> Document | None:
        found = (informer.pods.get(name) for informer in self.informers.values())
        return next((pod for pod in found if pod is not None), None)

    def _begin(self) -> None:
        self.ends = Ends(self._engine, self._cluster, self._finish, self._config.keep_seconds)
        self.keeping = Keeping(self._engine, self._cluster, self.ends, self._config)
        self.logs = Logs(self._engine.client, self._cluster)
        self._recorded_at = -RECORD_EVERY_SECONDS

    def _read_record(self) -> list[str]:
        """Follows the namespaces of all projects; the runs that have not ended."""
        projects, unfinished = self._record()
        for namespace in {self._config.namespace_of(project) for project in projects}:
            if namespace not in self.informers:
                made = Informer(self._cluster, namespace, selector(self._config.deployment), self._told)
                self.informers[namespace] = made
                made.start()
        self._recorded_at = monotonic()
        return unfinished

    def _told(self, pod: Document, gone: bool) -> None:
        """An informer has news of a pod; from its thread."""
        if gone or has_ended(pod):
            attempt = attempt_of(pod)
            if attempt is not None:
                self.ends.note(pod, attempt, gone=gone)
