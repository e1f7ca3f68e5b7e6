"""The reconciler: whatever a crash left half-done is found by its deadline, or by its absence, and done again.

Runs in the recorder's process; of several one leads, by a lease. Two sweeps: of deadlines, about every second (what is
in flight and overdue), and of runs, less often (what is committed and unknown to Redis). Every repair is a transition
that anyone else may make at the same time: applied twice, it is applied once. Once a minute caches are brought back to
the limits of their projects, and once an hour the store is swept of what killed writers left behind.
"""

import json
import logging
import threading
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, cast

from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError

from app import dispatch
from app.db import db
from app.dispatch import QUEUE_STEPS
from app.services import cache_evict, cache_index, run_source
from celesta.errors import CelestaError
from workers import sources
from workers.admission import Admission
from workers.engine import control, keys, overdue
from workers.engine.controlling import Action
from workers.engine.core import CHUNK
from workers.engine.waiting import Answer
from workers.lead import Lead

if TYPE_CHECKING:
    from workers.celery_app import CelestaApp

log = logging.getLogger(__name__)

LONGEST_SECONDS = 1.0
SHORTEST_SECONDS = 0.05
RUNS_EVERY_SECONDS = 2.0
STORE_EVERY_SECONDS = 3600.0
CACHE_EVERY_SECONDS = 60.0
START_AGAIN_SECONDS = 15.0
"""A start message that is still queued or at work needs no second one sooner than this."""


def run(app: "CelestaApp", stop: threading.Event) -> None:
    """Reconciles until told to stop. What fails now is overdue still at the next tick."""
    reconciler = Reconciler(app)
    while not stop.is_set():
        wait = LONGEST_SECONDS
        try:
            wait = reconciler.tick()
        except (RedisError, DBAPIError, OperationalError, CelestaError, OSError) as error:
            log.warning("the reconciler comes again: %s", error)
        stop.wait(wait)
    reconciler.lead.resign()


class Reconciler:
    """One candidate for the lead, and what it remembers between ticks."""

    def __init__(self, app: "CelestaApp") -> None:
        self.app = app
        self.engine = app.engine
        self.client: Redis = app.engine.client
        self.lead = Lead(self.client, keys.RECONCILER)
        self.admission = Admission(app)
        self._runs_at = 0.0
        self._unfinished: list[str] = []
        self._store_at = -STORE_EVERY_SECONDS
        self._cache_at = -CACHE_EVERY_SECONDS
        self._unknown: dict[str, float] = {}
        self._asked: dict[str, float] = {}

    def tick(self) -> float:
        """One round, if this one leads. How long to sleep: timers of a fraction of a second are met."""
        if not self.lead.held():
            return LONGEST_SECONDS
        self.restore_cache_index()
        overdue.sweep(self.engine, self.backlog, self.ask_start, self.close_questions)
        if monotonic() - self._runs_at >= RUNS_EVERY_SECONDS:
            self._runs_at = monotonic()
            self.sweep_runs()
        elif self.admission.shared:
            self.admission.look(self._unfinished)
        if monotonic() - self._cache_at >= CACHE_EVERY_SECONDS:
            self._cache_at = monotonic()
            self.limit_caches()
        if monotonic() - self._store_at >= STORE_EVERY_SECONDS:
            self._store_at = monotonic()
            self.engine.store.sweep()
        return min(LONGEST_SECONDS, max(SHORTEST_SECONDS, overdue.next_in_seconds(self.engine)))

    def backlog(self) -> int | None:
        """Step messages that wait in the queue; None where the broker does not say."""
        try:
            return dispatch.waiting(self.app.config.celery_broker_url)[QUEUE_STEPS]
        except (OperationalError, OSError) as error:
            log.warning("the broker does not say what waits: %s", error)
            return None

    def close_questions(self, run: str, nodes: list[str]) -> dict[str, Answer] | None:
        """What these questions have come to; None where the database does not answer."""
        try:
            with sources.database(self.app.config):
                return sources.close_questions(run, nodes)
        except DBAPIError as error:
            log.warning("run %s: %d questions are closed later: %s", run, len(nodes), error)
            return None

    # Runs that Redis does not know

    def sweep_runs(self) -> None:
        """Starts what was committed and never started, rebuilds what Redis lost, and passes on what was decided."""
        with sources.database(self.app.config):
            unfinished, answered = run_source.unfinished(), run_source.answered()
        known = self._known(list(unfinished))
        self._unfinished = list(known)
        self.admission.look(known)
        now = monotonic()
        self._unknown = {run: self._unknown.get(run, now) for run in unfinished if run not in known}
        for run, since in self._unknown.items():
            if now - since >= RUNS_EVERY_SECONDS:  # not in the moment between a commit and its message
                self.ask_start(run)
        for run in answered:
            self.ask_start(run)
        for run, (decided, epoch) in known.items():
            if epoch < unfinished[run].epoch:  # nobody records any more what this epoch comes to
                self.ask_start(run)
            elif decided not in (unfinished[run].control, "cancel"):  # what the engine ended itself stays ended
                self.apply_control(run)

    def apply_control(self, run: str) -> None:
        """A decision that did not reach the engine. Read again, since it may have changed since the sweep."""
        with sources.database(self.app.config):
            control(self.engine, run, cast(Action, run_source.control_of(run)))

    def ask_start(self, run: str) -> None:
        """Sends the start message: the run is begun, gone on with, or rebuilt, whatever it needs. Where no broker
        answers, a later look sends it."""
        now = monotonic()
        if now - self._asked.get(run, -START_AGAIN_SECONDS) >= START_AGAIN_SECONDS:
            self._asked = {name: at for name, at in self._asked.items() if now - at < START_AGAIN_SECONDS}
            if dispatch.send_start(self.app.config.celery_broker_url, run):
                self._asked[run] = now

    def _known(self, runs: list[str]) -> dict[str, tuple[str, int]]:
        """What Redis was told to do with a run, and under which epoch, of those that it knows."""
        pipe = self.client.pipeline(transaction=False)
        for run in runs:
            pipe.hmget(keys.meta(run), ["control", "epoch", "life"])
        *found, now = pipe.hget(keys.MARKS, "life").execute()
        told = zip(runs, found, strict=True)
        return {run: (c.decode(), int(epoch)) for run, (c, epoch, life) in told if epoch is not None and life == now}

    # The cache

    def limit_caches(self) -> None:
        """Evicts what was used least recently, where a project holds more than its limit."""
        with sources.database(self.app.config):
            cache_evict.enforce_limits(db.session, self.client)

    def restore_cache_index(self) -> None:
        """Fills the cache index of a Redis that has lost it. The mark is set last, so that a crash starts over."""
        if self.client.exists(keys.RESTORED):
            return
        with sources.database(self.app.config):
            for space in cache_index.spaces():
                entries = ((key, json.dumps(value)) for key, value in cache_index.entries(space))
                while part := dict(islice(entries, CHUNK)):
                    self.client.hset(keys.cache(space), mapping=part)
        self.client.set(keys.RESTORED, 1)
