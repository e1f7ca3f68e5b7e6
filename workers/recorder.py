"""Writes the engine's events into the database, in batches, exactly as often as needed: offset and rows in one commit.
The results that a batch tells of are flushed first, so that what is recorded as done survives a loss of power.

`celesta server recorder` and the supervisor run it; one is enough, and a second one does no harm (each commit is
conditional on the offset that it began from). It alone writes what a run does: steps, attempts, artifacts, lineage,
metrics, cache entries, and the run's state after its start. A huge run waits behind all others (`workers.backlog`).
After the commit of a run's end it says so on the stream (`run.recorded`) and lets the engine forget the run. Refuses to
let one unreadable event stop the others: it is logged and left out.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from threading import Event
from time import monotonic, time
from typing import Any

from redis import Redis, RedisError
from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from app.compiler.plan import Plan
from app.config import Config
from app.db import db, standalone, writing
from app.models import Project, Run, StreamOffset
from app.redis_client import connect
from app.services.event_record import Ended, record_events
from app.stores import store_of
from celesta.errors import StoreError
from celesta.store import Store
from celesta.store.base import result_key
from workers import alive, event_stream
from workers.backlog import Backlog
from workers.engine import Engine, forget, keys
from workers.event_stream import BLOCK_MS, START, Entry, EventStreams, Offset

log = logging.getLogger(__name__)

BATCH_EVENTS = 500
"""Events in one commit: on SQLite a launch waits for it, some 50 ms."""
PAGES_AHEAD = 20
"""What is read past a huge run before the next batch of it is recorded: a second's worth, so neither waits long."""
GATHER_SECONDS = 0.2
"""How long events wait for company, since commits cost more than rows; the end of a run does not wait."""
PAUSE_SECONDS = 0.016
UPKEEP_SECONDS = 1.0
RETRY_SECONDS = 0.5
UNTOLD_SECONDS = 60.0
"""How often it is looked for runs that Redis knows and that have ended."""
PLANS_KEPT = 64
END_OF_RUN = b'"run.finished"'
OF_AN_ATTEMPT = ("succeeded", "failed")
"""States of a settled step that an attempt may have a result document for."""

Forget = Callable[[str], None]


class OtherRecorderError(Exception):
    """Another recorder has committed since we read the offset; we begin again from its."""


def run(stop: Event, config: Config, forget: Forget | None = None) -> None:
    """Record until `stop` is set. What fails for a while (database, Redis, store) is tried again for ever."""
    with standalone(config):
        recorder = Recorder(config, forget)
        while not stop.is_set():
            try:
                recorder.turn(stop)
                alive.touch(config)
            except OtherRecorderError:
                recorder.reopen()
            except (RedisError, OperationalError, InterfaceError, StoreError) as error:
                log.warning("the recorder waits for a service: %s", error)
                alive.touch(config)
                recorder.reopen()
                stop.wait(RETRY_SECONDS)
        recorder.close()


class Recorder:
    """One process' view of the streams: open, or to be opened by the next turn."""

    def __init__(self, config: Config, forget: Forget | None = None) -> None:
        self.client = connect(config.redis_url)
        self.streams = EventStreams(self.client, config.shards)
        self.store = store_of(config)
        self.tasks = TaskNames(self.store)
        self.forget = forget or _forget_by_engine(self.client, self.store)
        self.stored: dict[str, Offset] = {}
        self.ended: list[tuple[str, Ended]] = []
        """Committed ends, by shard, that are still to be announced."""
        self.backlogs: dict[str, Backlog] = {}
        self.is_open = False
        self.upkeep_at = 0.0
        self.untold_at = 0.0

    def turn(self, stop: Event) -> None:
        """Wait for events, gather what comes with them, record all of it, of a huge run the next batch."""
        if not self.is_open:
            self._open()
        for _ in range(PAGES_AHEAD):
            found = self._gather(stop)
            for shard, entries in found.items():
                self._take(shard, entries)
            if not self._is_behind or not any(map(_is_full, found.values())):
                break
        for shard, backlog in self.backlogs.items():
            if backlog:
                self._catch_up(shard, backlog)
        if monotonic() > self.upkeep_at:
            self._upkeep()

    def reopen(self) -> None:
        """Forget positions; the next turn reads the offsets again."""
        db.session.rollback()
        self.is_open = False

    def close(self) -> None:
        db.session.remove()
        self.client.close()

    def _open(self) -> None:
        rows = db.session.scalars(select(StreamOffset), execution_options={"populate_existing": True})
        self.stored = {row.shard: Offset(row.gen, row.stream_id) for row in rows}
        db.session.rollback()
        self.streams.open(self.stored)
        self.backlogs = {shard: Backlog() for shard in self.streams.shards.values()}
        self.is_open = True
        self._tell_the_untold()

    @property
    def _is_behind(self) -> bool:
        return any(self.backlogs.values())

    def _take(self, shard: str, entries: Sequence[Entry]) -> None:
        """Record what was read; the offset moves with it unless something before it is left."""
        backlog = self.backlogs[shard]
        others = backlog.others(entries, _is_full(entries))
        for start in range(0, len(others), BATCH_EVENTS):
            batch = others[start : start + BATCH_EVENTS]
            self._record(shard, batch, self._reached(shard) if backlog else batch[-1].id)
            self._tell()

    def _catch_up(self, shard: str, backlog: Backlog) -> None:
        """Record a batch of what was left, from the offset on."""
        entries = self.streams.read_again(shard, self._reached(shard), BATCH_EVENTS)
        if entries:
            self._record(shard, backlog.left(entries), entries[-1].id)
            self._tell()
        if len(entries) < BATCH_EVENTS:
            backlog.clear()

    def _reached(self, shard: str) -> str:
        stored = self.stored.get(shard)
        return stored.stream_id if stored and stored.gen == self.streams.gen else START

    def _gather(self, stop: Event) -> dict[str, list[Entry]]:
        if self._is_behind:
            return self.streams.read(None)
        gathered = self.streams.read(BLOCK_MS)
        until = monotonic() + GATHER_SECONDS
        while gathered and not _is_urgent(gathered) and monotonic() < until and not stop.wait(PAUSE_SECONDS):
            for shard, entries in self.streams.read(None).items():
                gathered.setdefault(shard, []).extend(entries)
        return gathered

    def _record(self, shard: str, entries: Sequence[Entry], reached: str) -> None:
        """Commit a batch and how far that reaches; one that the database refuses is halved until the event that it
        refuses is alone."""
        try:
            ended = self._commit(shard, entries, reached)
        except (OtherRecorderError, OperationalError, InterfaceError, StoreError):
            raise
        except (DBAPIError, OverflowError, ValueError, TypeError):
            db.session.rollback()
            if len(entries) > 1:
                half = len(entries) // 2
                stays = reached == self._reached(shard)
                self._record(shard, entries[:half], reached if stays else entries[half - 1].id)
                self._record(shard, entries[half:], reached)
                return
            if not entries:
                raise
            log.exception("the database refuses an event, which is left out: %.500r", entries[0].text)
            ended = self._commit(shard, [], reached)
        self.ended += [(shard, end) for end in ended]

    def _commit(self, shard: str, entries: Sequence[Entry], reached: str) -> list[Ended]:
        events = list(_events(entries))
        offset = Offset(self.streams.gen, reached)
        self.store.flush(_results(events))
        with writing(db.session) as session:
            if not _advance(session, shard, self.stored.get(shard), offset):
                raise OtherRecorderError
            ended = record_events(session, events, self.tasks)
        self.stored[shard] = offset
        return ended

    def _tell(self) -> None:
        """Say what has ended to those who follow the stream, and let the engine forget it."""
        while self.ended:
            shard, _ = self.ended[0]
            ends = [end for at, end in self.ended if at == shard]
            self.streams.announce(shard, [_recorded(end) for end in ends])
            for end in ends:
                self.forget(end.run_id)
            self.ended = [one for one in self.ended if one[0] != shard]

    def _tell_the_untold(self) -> None:
        """A recorder may have died after its commit, or a start that came late have brought back what had ended."""
        self.untold_at = monotonic() + UNTOLD_SECONDS
        shard = next(iter(self.streams.shards.values()))
        self.ended += [(shard, end) for end in _ended(keys.runs(self.client))]
        self._tell()

    def _upkeep(self) -> None:
        self.upkeep_at = monotonic() + UPKEEP_SECONDS
        if not self.streams.is_same_redis():
            log.warning("another Redis answers; its streams are read from their beginning")
            self.reopen()
            return
        for shard, offset in self.stored.items():
            if offset.gen == self.streams.gen:
                self.streams.trim(shard, offset.stream_id)
        if monotonic() > self.untold_at:
            self._tell_the_untold()


class TaskNames:
    """The name of each step's task, by the digest of the plan; kept for the plans that were met lately."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.known: dict[str, Sequence[str]] = {}

    def __call__(self, plan_blob: str) -> Sequence[str]:
        names = self.known.pop(plan_blob, None) or self._load(plan_blob)
        self.known[plan_blob] = names
        if len(self.known) > PLANS_KEPT:
            del self.known[next(iter(self.known))]
        return names

    def _load(self, plan_blob: str) -> Sequence[str]:
        plan = Plan.from_bytes(self.store.get_blob(plan_blob))
        return [str(plan.task(index)["name"]) for index in range(len(plan))]


def _forget_by_engine(client: "Redis[Any]", store: Store) -> Forget:
    """The engine's own way to remove a run's keys; an engine that sends nothing is enough for that."""
    return partial(forget, Engine(client, store, lambda *_: None))


def _events(entries: Sequence[Entry]) -> Iterator[dict[str, Any]]:
    for entry in entries:
        try:
            event = json.loads(entry.text) if entry.text else None
        except ValueError:
            log.error("an entry of the event stream is no JSON and is left out: %.500r", entry.text)
            continue
        if isinstance(event, dict):
            yield event


def _results(events: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Where the results are that these events tell of. Durable before they are recorded as done."""
    for event in events:
        if event.get("state") in OF_AN_ATTEMPT and event.get("token"):
            yield result_key(event["run"], event["path"], event["token"])


def _is_full(entries: Sequence[Entry]) -> bool:
    """Whether there was more to read than is read at once."""
    return len(entries) >= event_stream.READ_EVENTS


def _is_urgent(gathered: dict[str, list[Entry]]) -> bool:
    """A run has ended, for which somebody waits; or there is enough for a commit."""
    return any(
        len(entries) >= BATCH_EVENTS or any(END_OF_RUN in entry.text for entry in entries)
        for entries in gathered.values()
    )


def _advance(session: Any, shard: str, stored: Offset | None, reached: Offset) -> bool:
    """Move the offset, when it still is what we read. False: another recorder was here."""
    if stored is None:
        insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
        row = {"shard": shard, "gen": reached.gen, "stream_id": reached.stream_id}
        return bool(session.execute(insert(StreamOffset).values(row).on_conflict_do_nothing()).rowcount)
    condition = (
        StreamOffset.shard == shard,
        StreamOffset.gen == stored.gen,
        StreamOffset.stream_id == stored.stream_id,
    )
    statement = update(StreamOffset).where(*condition).values(gen=reached.gen, stream_id=reached.stream_id)
    return bool(session.execute(statement, execution_options={"synchronize_session": False}).rowcount)


def _ended(runs: Iterator[str]) -> list[Ended]:
    """Of these runs, the ends that are committed."""
    query = select(Run.id, Project.name, Run.status, Run.epoch).join(Project, Run.project_id == Project.id)
    ends: list[Ended] = []
    while part := list(islice(runs, BATCH_EVENTS)):
        rows = db.session.execute(query.where(Run.id.in_(part), Run.recorded_at.is_not(None)))
        ends += [Ended(*row) for row in rows]
    db.session.rollback()
    return ends


def _recorded(end: Ended) -> dict[str, Any]:
    return {
        "kind": "run.recorded",
        "run": end.run_id,
        "project": end.project,
        "at_ms": int(time() * 1000),
        "epoch": end.epoch,
        "status": end.status,
    }
