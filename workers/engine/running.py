"""One step message, from claim to outcomes: what a Celery child does with the ids it was given.

`workers.tasks` calls `Runner.run`; the executor does the work; the outcomes go back through Celery to the chord hook.
Owns the batch in hand, which its lease thread reads: renewals, cancellation, and giving back what a slow step blocks.
"""

import json
import logging
import os
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, time
from typing import Any, Protocol

from celesta.codecs import gone
from celesta.errors import CelestaError, StoreError
from celesta.runtime.failures import told_error
from workers.engine import caching, events, keys, pending, scripts, settling
from workers.engine.advancing import top_up
from workers.engine.bindings import Ref, parents_of
from workers.engine.completing import flight_owner, wake
from workers.engine.core import Engine
from workers.engine.documents import step_document
from workers.engine.external import Launched, hand_over
from workers.engine.kept import Kept
from workers.engine.manifests import accepted
from workers.engine.pace import LAUNCHED_MS
from workers.engine.settling import Ended, Finding
from workers.engine.views import View
from workers.executors.base import Later

log = logging.getLogger(__name__)

REPORT_SECONDS = 0.1
"""Outcomes of a batch are kept back no longer than this while it goes on."""
FLIGHT_RETRY_MS = 1_000
"""A step that waits for another's flight asks again after this, should nobody wake it."""


class Executor(Protocol):
    """What the engine wants of `workers.executors.base.Executor`."""

    name: str

    def submit(self, document: dict[str, Any]) -> dict[str, Any] | None: ...

    def cancel(self, run: str, node: str, token: str) -> bool: ...


Report = Callable[[list[Ended]], None]
"""Takes outcomes before the message's end; the same hook that takes them at its end."""


@dataclass
class Known:
    """What was found out about a step before its turn: what `caching` says of its key, and of its flight."""

    finding: Finding
    taken: caching.Taken | None


@dataclass
class Batch:
    """The claimed steps of one message. `lock` guards it between the child and its lease thread."""

    view: View
    waiting: deque[tuple[str, str]]
    outcomes: dict[str, dict[str, Ref]]
    report: Report
    ran_out: dict[str, int] = field(default_factory=dict)
    """How often a step ran out of memory before this attempt."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    current: tuple[str, str] | None = None
    since: float = field(default_factory=monotonic)
    ended: list[Ended] = field(default_factory=list)
    flights: dict[caching.Slot, str] = field(default_factory=dict)
    stopped: dict[str, str] = field(default_factory=dict)
    """Steps that a heartbeat told to stop: `cancelled` or `stale`."""
    known: dict[str, Known] = field(default_factory=dict)

    def next(self) -> tuple[str, str] | None:
        with self.lock:
            self.current = self.waiting.popleft() if self.waiting else None
            self.since = monotonic()
            return self.current

    def keep(self, ended: Ended) -> None:
        with self.lock:
            self.current = None
            self.ended.append(ended)

    def take_ended(self) -> list[Ended]:
        with self.lock:
            taken, self.ended = self.ended, []
            return taken

    def take_waiting(self) -> list[tuple[str, str]]:
        with self.lock:
            taken = list(self.waiting)
            self.waiting.clear()
            return taken

    def held(self) -> list[tuple[str, str]]:
        """Attempts whose lease this batch keeps: begun, waiting, or ended and not yet reported."""
        with self.lock:
            begun = [self.current] if self.current else []
            return begun + list(self.waiting) + [(ended.node, ended.token) for ended in self.ended]


class Runner:
    """Runs batches, one step at a time, in this process' own thread."""

    def __init__(self, engine: Engine, executor: Executor, worker: str, store_url: str) -> None:
        self.engine = engine
        self.executor = executor
        self.worker = worker
        self.store_url = store_url
        self.batch: Batch | None = None

    def run(self, run: str, steps: list[list[Any]], report: Report) -> list[Ended]:
        """What ended and is not reported yet. `report` takes outcomes early when the rest of the batch takes long."""
        batch = self.claim(run, steps, report)
        if batch is None:
            return []
        if len(batch.waiting) > 1:
            self._take_flights(batch)
        return self._run(batch)

    def go_on(self, run: str, kept: Kept, report: Report) -> list[Ended]:
        """As `run`, for a step that is claimed already."""
        view = self.engine.views.of(run)
        if view is None or kept.node is None:
            return []
        known = {} if kept.finding is None else {kept.node: Known(kept.finding, kept.taken)}
        return self._run(Batch(view, deque([(kept.node, kept.token)]), kept.outcomes, report, known=known))

    def _run(self, batch: Batch) -> list[Ended]:
        self.batch = batch
        reported = monotonic()
        try:
            while (step := batch.next()) is not None:
                self._attempt(batch, *step)
                if batch.waiting and monotonic() - reported > REPORT_SECONDS:
                    batch.report(batch.take_ended())
                    reported = monotonic()
        finally:
            self.batch = None
        return batch.take_ended()

    def leads_on(self, run: str, ended: list[Ended]) -> bool:
        """Whether what just ended may have made a step ready that this process could take up."""
        view = self.engine.views.of(run)
        node = ended[-1].node
        return view is not None and len(ended) == 1 and bool(view.children(node))

    def claim(self, run: str, steps: list[list[Any]], report: Report) -> Batch | None:
        """Takes what is still to be had of a message's steps, with their parents' outcomes, in one round trip."""
        engine = self.engine
        view = engine.views.of(run)
        if view is None:
            return None
        nodes = [node for node, _ in steps]
        parents = parents_of(view, nodes)
        reply, outcomes = scripts.call_with_outcomes(
            engine.client,
            "claim",
            run,
            steps=[{"n": n, "attempt": a, "e": events.running(view, n, a, self.worker)} for n, a in steps],
            parents=parents,
            owner=self.worker,
            lease=engine.lease_ms,
            grace=engine.grace_ms,
            **engine.pace.admission(view, nodes),
        )
        if reply["status"] != "ok":
            engine.views.forget(run)
            return None
        if reply["epoch"] != view.epoch:
            view = engine.views.of(run, reply["epoch"]) or view
        engine.publish(run, reply["send"] or [])
        for other in reply.get("wake") or []:
            top_up(engine, other)
        granted = [(node, token) for node, token in zip(nodes, reply["steps"], strict=True) if token]
        found = {node: json.loads(text) for node, text in zip(parents, outcomes, strict=True) if text}
        return Batch(view, deque(granted), found, report, dict(reply["ran_out"])) if granted else None

    # One step

    def _attempt(self, batch: Batch, node: str, token: str) -> None:
        view, engine = batch.view, self.engine
        begun = monotonic()
        known = batch.known.get(node)
        try:
            inputs = engine.resolver.inputs(view, node, batch.outcomes)
            finding = known.finding if known is not None else caching.find(view, node, inputs)
        except CelestaError as error:
            failure = settling.failure(told_error(error))
            batch.keep(Ended(node, token, failure, known.finding if known is not None else None))
            return
        if finding.key and view.reads_cache(node) and not self._may_compute(batch, node, token, finding):
            return
        ran_out = batch.ran_out.get(node, 0)
        document = step_document(view, node, token, inputs, finding.key, self.store_url, ran_out)
        try:
            result = self.executor.submit(document)
        except Later as later:
            self._put_off(batch, node, token, later)
            return
        if result is None and node not in batch.stopped:
            self._launched(batch, document)
        self._keep(batch, node, token, result, finding)
        engine.pace.learn(view, node, LAUNCHED_MS if result is None else (monotonic() - begun) * 1000)

    def _launched(self, batch: Batch, document: dict[str, Any]) -> None:
        """The work goes on without this worker; what must not go on after all is ended."""
        attempt = Launched(document["node"], document["token"], document["cache_key"])
        with batch.lock:  # Its executor keeps the flight from now on, and for longer than we would.
            batch.flights.pop(caching.slot_of(batch.view, attempt.node, str(attempt.cache_key)), None)
        told = hand_over(self.engine, batch.view, attempt, document["executor"] or self.executor.name)
        if told != "ok":
            batch.stopped[attempt.node] = told
            self.executor.cancel(batch.view.run, attempt.node, attempt.token)

    def _keep(self, batch: Batch, node: str, token: str, result: dict[str, Any] | None, finding: Finding) -> None:
        told = batch.stopped.get(node)
        outcome = None if result is None else accepted(batch.view, node, token, result)
        if told == "cancelled" and (outcome is None or outcome["status"] != "succeeded"):
            batch.keep(Ended(node, token, {}, finding, cancelled=True))
        elif told != "stale" and outcome is not None:
            batch.keep(Ended(node, token, outcome, finding))

    def _may_compute(self, batch: Batch, node: str, token: str, finding: Finding) -> bool:
        """Single-flight: whether this attempt is the one that computes its key."""
        view, flight = batch.view, self._flight(batch.view, node, token, finding)
        taken = self._taken(batch, node, flight)
        hit = caching.fresh(view, node, taken.hit, int(time() * 1000))
        try:
            if hit is not None and not gone(self.engine.store, {flight.slot: hit["outputs"]}):
                outcome = {"status": "succeeded", "outputs": hit["outputs"], "error": None, "metrics": []}
                batch.keep(Ended(node, token, outcome, finding, source=caching.source_of(hit)))
                return False
        except StoreError as error:  # Neither a hit nor a miss.
            log.warning("run %s: step %s waits for the store: %s", view.run, node, error)
            self.give_back(batch, [(node, token)], FLIGHT_RETRY_MS)
            return False
        if taken.mine:
            return True
        caching.wait(self.engine.client, view, flight.slot, node)
        self._release(view, [(node, token)], FLIGHT_RETRY_MS)
        return False

    def _taken(self, batch: Batch, node: str, flight: caching.Flight) -> caching.Taken:
        """What is known of the flight, or is found out now. One that is ours ends with the attempt."""
        known = batch.known.get(node)
        taken = known.taken if known is not None else None
        if taken is None or not (taken.mine or taken.hit):
            taken = caching.take(self.engine.client, [flight])[0]
        if taken.mine:
            with batch.lock:
                batch.flights[flight.slot] = flight.owner
        return taken

    def _put_off(self, batch: Batch, node: str, token: str, later: Later) -> None:
        """Nothing was launched: the step is asked again later."""
        self.give_back(batch, [(node, token)], int(later.seconds * 1000))
        pending.tell(self.engine.client, {(batch.view.run, node, token): str(later)}, 2 * later.seconds)

    def _take_flights(self, batch: Batch) -> None:
        """All flights of a batch in one round trip. What cannot be bound is left to the step's turn."""
        view, found = batch.view, list[tuple[str, Finding, caching.Flight]]()
        for node, token in batch.waiting:
            if view.reads_cache(node):
                with suppress(CelestaError):
                    inputs = self.engine.resolver.inputs(view, node, batch.outcomes)
                    finding = caching.find(view, node, inputs)
                    found.append((node, finding, self._flight(view, node, token, finding)))
        answers = caching.take(self.engine.client, [flight for *_, flight in found]) if found else []
        for (node, finding, flight), taken in zip(found, answers, strict=True):
            batch.known[node] = Known(finding, taken)
            if taken.mine:
                batch.flights[flight.slot] = flight.owner

    def _flight(self, view: View, node: str, token: str, finding: Finding) -> caching.Flight:
        slot = caching.slot_of(view, node, str(finding.key))
        return caching.Flight(slot, flight_owner(view, node, token), self.engine.lease_ms)

    def give_back(self, batch: Batch, steps: list[tuple[str, str]], delay_ms: int | None = None) -> None:
        """Returns steps that were not begun, to the queue or to wait, and their keys to whoever wants them."""
        owners = {flight_owner(batch.view, node, token) for node, token in steps}
        with batch.lock:
            flights = {slot: (owner, None) for slot, owner in batch.flights.items() if owner in owners}
            for slot in flights:
                del batch.flights[slot]
        waiting = caching.land(self.engine.client, flights)[0] if flights else []
        self._release(batch.view, steps, delay_ms)
        wake(self.engine, waiting)

    def _release(self, view: View, steps: list[tuple[str, str]], delay_ms: int | None) -> None:
        engine = self.engine
        reply = engine.call(
            "release",
            view.run,
            epoch=view.epoch,
            steps=steps,
            owner=self.worker,
            delay_ms=delay_ms,
            grace=engine.grace_ms,
            **engine.pace.admission(view, [node for node, _ in steps]),
        )
        engine.publish(view.run, reply.get("send") or [])
        for other in reply.get("wake") or []:
            top_up(engine, other)


def expire(engine: Engine, run: str | None = None) -> None:
    """Ends the leases of dead children of this process, on steps of one run or of all; the reconciler finds these
    overdue at once. Asked of Redis, not of a message: a child that went on by itself holds steps that none names."""
    by_run: dict[str, list[str]] = defaultdict(list)
    for name in engine.client.zrange(keys.INFLIGHT, 0, -1):
        of_run, _, node = name.decode().partition("|")
        if run in (None, of_run):
            by_run[of_run].append(node)
    for of_run, nodes in by_run.items():
        for node, record in zip(nodes, engine.client.hmget(keys.states(of_run), nodes), strict=True):
            owner = record.decode().rsplit("|", 1)[1] if record else ""
            if _is_dead_child(owner):
                engine.call("bump", of_run, steps=[[node, "running", 0, False]], owner=owner)


def _is_dead_child(owner: str) -> bool:
    parent, _, pid = owner.rpartition(":")
    return parent == f"{os.uname().nodename}:{os.getpid()}" and not Path(f"/proc/{pid}").exists()
