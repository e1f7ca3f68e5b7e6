"""Follows the event streams of Redis and hands each event to those who asked for its run or project.

Owns the one reading thread of a web process and the bounded queues of its subscribers; the thread lives only while
somebody listens, so that an idle dashboard costs the engine nothing. `app.api.streams` turns a subscription into
server-sent events, and a long poll of a run waits on one. Refuses more followers than the process has slots for:
each holds a thread of the web server, and the last ones must stay free for everybody else.
"""

import json
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
from flask import Flask, current_app

from app import redis_names
from app.config import Config
from app.redis_client import SOCKET_SECONDS, connect, stream_order

SLOTS = 48  # followers at a time; the web server has more threads than this
QUEUE_EVENTS = 5_000  # a follower that is further behind is cut off, and resumes with its last event id
BLOCK_MS = 500  # below the socket's time-out, or redis-py takes a quiet stream for a dead server
READ_EVENTS = 1_000
PAUSE_SECONDS = 0.01  # gathers what arrives together: 100 reads a second at most, however fast the steps end
RETRY_SECONDS = 0.5

log = logging.getLogger(__name__)
Key = tuple[str, str]


class Busy(Exception):
    """All slots for followers are taken."""


class Overrun(Exception):
    """The follower was too slow, and some of its events were dropped, or the server ends: it has to resume."""


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the stream: its id, its document, and the text that the document was read from."""

    id: str
    body: dict[str, Any]
    text: str

    @property
    def kind(self) -> str:
        return str(self.body.get("kind"))


class Subscription:
    """The events that one follower has not taken yet."""

    def __init__(self, kinds: frozenset[str] | None) -> None:
        self._kinds = kinds
        self._events: deque[Event] = deque()
        self._changed = threading.Condition()
        self._overrun = False

    def put(self, event: Event) -> None:
        if self._kinds is not None and event.kind not in self._kinds:
            return
        with self._changed:
            if len(self._events) >= QUEUE_EVENTS:
                self._overrun = True
            else:
                self._events.append(event)
            self._changed.notify()

    def end(self) -> None:
        """Send the follower away; it may come back with its last event id."""
        with self._changed:
            self._overrun = True
            self._changed.notify()

    def get(self, timeout_seconds: float) -> list[Event]:
        """All events that are there, else those that come within the time; empty when none came."""
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._overrun, timeout_seconds)
            if self._overrun:
                raise Overrun
            events = list(self._events)
            self._events.clear()
            return events


class Hub:
    """One per web process. Nothing is opened before somebody subscribes."""

    def __init__(self, redis_url: str, shards: int = 1, slots: int = SLOTS) -> None:
        self._streams = [redis_names.events(f"p{shard}") for shard in range(shards)]
        self._slots = threading.BoundedSemaphore(slots)
        self._lock = threading.Lock()
        self._subscriptions: dict[Key, set[Subscription]] = {}
        self._positions: dict[str, str] = {}
        self._thread: threading.Thread | None = None
        self.redis: Any = connect(redis_url)
        """A client for short questions and for reading log streams; safe to share between threads."""

    def take_slot(self) -> Callable[[], None]:
        """Counts a follower in and returns what counts it out again; raises `Busy` above the cap."""
        if not self._slots.acquire(blocking=False):
            raise Busy
        return self._slots.release

    @contextmanager
    def subscribe(
        self, *, run: str = "", project: str = "", kinds: frozenset[str] | None = None
    ) -> Iterator[Subscription]:
        """Every event that is added from now on, of one run or of one project. Raises `redis.RedisError`."""
        key = ("run", run) if run else ("project", project)
        subscription = Subscription(kinds)
        with self._lock:
            if self._thread is None:
                self._positions = {stream: self._last_id(stream) for stream in self._streams}
                self._thread = threading.Thread(target=self._read, name="celesta-events", daemon=True)
                self._thread.start()
            self._subscriptions.setdefault(key, set()).add(subscription)
        try:
            yield subscription
        finally:
            with self._lock:
                self._subscriptions[key].discard(subscription)
                if not self._subscriptions[key]:
                    del self._subscriptions[key]

    def close(self) -> None:
        """End every stream and the reading thread, so that a server that stops need not wait for its followers."""
        with self._lock:
            listeners = [listener for each in self._subscriptions.values() for listener in each]
            thread = self._thread
        for listener in listeners:
            listener.end()
        if thread is not None:
            thread.join(BLOCK_MS / 1000 + SOCKET_SECONDS)

    def since(self, run: str, stream_id: str) -> list[Event]:
        """The events of a run after `stream_id`; the streams may have lost those that the recorder has folded."""
        entries = [entry for stream in self._streams for entry in self.redis.xrange(stream, f"({stream_id}", "+")]
        return [event for event in map(_event, entries) if event and event.body.get("run") == run]

    def _last_id(self, stream: str) -> str:
        entries = self.redis.xrevrange(stream, count=1)
        return entries[0][0].decode() if entries else "0-0"

    def _read(self) -> None:
        quiet = threading.Event()
        while self._wanted():
            try:
                for stream, entries in self.redis.xread(self._positions, count=READ_EVENTS, block=BLOCK_MS):
                    self._positions[stream.decode()] = entries[-1][0].decode()
                    for entry in entries:
                        self._hand_out(_event(entry))
                quiet.wait(PAUSE_SECONDS)
            except redis.RedisError as error:
                log.warning("the event streams do not answer, trying again: %s", error)
                quiet.wait(RETRY_SECONDS)
                self._rewind()

    def _wanted(self) -> bool:
        with self._lock:
            if not self._subscriptions:
                self._thread = None
            return self._thread is not None

    def _rewind(self) -> None:
        """After a break the streams may be those of a younger Redis, whose ids begin again."""
        try:
            for stream, position in self._positions.items():
                if stream_order(self._last_id(stream)) < stream_order(position):
                    self._positions[stream] = "0-0"
        except redis.RedisError:
            return

    def _hand_out(self, event: Event | None) -> None:
        if event is None:
            return
        keys: list[Key] = [("run", str(event.body.get("run"))), ("project", str(event.body.get("project")))]
        with self._lock:
            listeners = [listener for key in keys for listener in self._subscriptions.get(key, ())]
        for listener in listeners:
            listener.put(event)


def init_app(app: Flask, config: Config) -> None:
    app.extensions["celesta.events"] = Hub(config.redis_url, config.shards)


def hub() -> Hub:
    """The hub of the application that serves this request."""
    found: Hub = current_app.extensions["celesta.events"]
    return found


def after(stream_id: str, other: str) -> bool:
    """Whether `stream_id` stands later in a stream than `other`."""
    return stream_order(stream_id) > stream_order(other)


def _event(entry: tuple[bytes, dict[bytes, bytes]]) -> Event | None:
    stream_id, fields = entry
    try:
        text = fields[b"e"].decode()
        return Event(stream_id.decode(), json.loads(text), text)
    except (KeyError, ValueError, TypeError):
        log.warning("an entry of the event stream is no event: %s", stream_id)
        return None
