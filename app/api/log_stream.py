"""A step's log as it is written: the live stream of Redis while an attempt runs, then what the store has beyond it.

Called by the route of a step's log. Each frame is `{"text"}`; the last has `"end": true`. A frame with `"reset": true`
begins anew: a next attempt started, or the client was sent other bytes than the log turned out to have (the live stream
keeps its last part only).
"""

import codecs
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from time import monotonic, time

import redis
from flask import Response

from app import redis_names
from app.api.streams import RETRY_MS, entered, frame, respond
from app.events import Event, Hub, Overrun, Subscription, hub
from app.models import STEP_TERMINAL, Step
from app.services.step_query import source
from celesta.store import Store, step_prefix

POLL_SECONDS = 0.25
WANT_EVERY_SECONDS, WANTED_FOR_SECONDS = 5.0, 20.0
"""Pods have many logs and few readers: the watcher follows those of which a reader says so, again and again."""
READ_ENTRIES = 1_000
Entry = tuple[bytes, dict[bytes, bytes]]


@dataclass
class Attempt:
    """The attempt that is followed: the one on its way, else the last; `note` moves it on with the run's events."""

    store: Store
    node: str
    place: tuple[str, str, str, str]
    over: bool

    @classmethod
    def of(cls, store: Store, step: Step) -> "Attempt":
        return cls(store, step.node, source(step), step.state in STEP_TERMINAL)

    @property
    def key(self) -> str:
        run, node, _, token = self.place
        return redis_names.live_log(run, node, token)

    def note(self, events: Iterable[Event]) -> None:
        for event in events:
            body = event.body
            if event.kind == "run.finished":
                self.over = True
            elif body.get("node") == self.node and event.kind == "step.running":
                self.place = (*self.place[:3], str(body["token"]))
            elif body.get("node") == self.node and event.kind == "step.settled":
                hit = body.get("source")
                self.place = (hit["run"], hit["node"], hit["path"], hit["token"]) if hit else self.place
                self.over = True

    def whole(self) -> bytes:
        run, _, path, token = self.place
        return (self.store.get(f"{step_prefix(run, path, token)}log.txt") if token else None) or b""


class Sent:
    """What a client has of one attempt's log."""

    def __init__(self) -> None:
        self.position = "0-0"
        self._seen = hashlib.sha256()
        self._size = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")  # an entry may end inside a character

    def add(self, entries: list[Entry]) -> str:
        data = b"".join(fields.get(b"d", b"") for _, fields in entries)
        self.position = entries[-1][0].decode()
        self._seen.update(data)
        self._size += len(data)
        return self._decoder.decode(data)

    def rest(self, log: bytes) -> str | None:
        """What is missing of the whole log; None when something else was sent."""
        if hashlib.sha256(log[: self._size]).digest() != self._seen.digest():
            return None
        return self._decoder.decode(log[self._size :], final=True)


def follow_log(run_id: str, attempt: Attempt) -> Response:
    exits = ExitStack()
    exits.callback(hub().take_slot())
    subscription = entered(exits, lambda: hub().subscribe(run=run_id))
    return respond(_chunks(hub(), subscription, attempt), exits.close)


def _chunks(source_of_entries: Hub, subscription: Subscription, attempt: Attempt) -> Iterator[str]:
    yield f"retry: {RETRY_MS}\n\n"
    sent, key, wanted_at = Sent(), attempt.key, 0.0
    while True:
        if not attempt.over and monotonic() - wanted_at > WANT_EVERY_SECONDS:
            wanted_at = monotonic()
            _want(source_of_entries, attempt)
        try:
            attempt.note(subscription.get(0 if attempt.over else POLL_SECONDS))
        except Overrun:
            return  # the client comes back, and is told the log from its beginning
        if attempt.key != key and not attempt.over:
            sent, key = Sent(), attempt.key
            yield frame({"text": "", "reset": True})
        entries = _read(source_of_entries, attempt.key, sent.position)
        if entries:
            yield frame({"text": sent.add(entries)}, sent.position)
        elif attempt.over:
            break
        else:
            yield ": still here\n\n"
    log = attempt.whole()
    rest = sent.rest(log)
    if rest is None:
        yield frame({"text": log.decode(errors="replace"), "reset": True, "end": True})
    else:
        yield frame({"text": rest, "end": True})


def _want(hub: Hub, attempt: Attempt) -> None:
    run, node, _, token = attempt.place
    with suppress(redis.RedisError):
        hub.redis.zadd(redis_names.LOGS_WANTED, {f"{run}|{node}|{token}": time() + WANTED_FOR_SECONDS})


def _read(hub: Hub, key: str, position: str) -> list[Entry]:
    try:
        found: list[Entry] = hub.redis.xrange(key, f"({position}", "+", count=READ_ENTRIES)
    except redis.RedisError:
        return []
    return found
