"""The engine's event streams as the recorder reads them: one per shard, from a kept offset on.

Owns the shapes of Redis' replies, where reading begins after a change of Redis, and trimming. An offset means something
only in the Redis (its `gen`, a random name made once) and the history that it comes from: in another one, or past the
end of an older state, reading begins anew, which is harmless since every event may come again.
"""

import json
import logging
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from redis import Redis, ResponseError

from app import redis_names
from app.redis_client import stream_order

log = logging.getLogger(__name__)

GEN = "celesta:gen"
START = "0-0"
BLOCK_MS = 1_000
"""Below the socket's time-out, or redis-py would take a quiet stream for a dead server."""
READ_EVENTS = 2_000
KEPT_MS = 30_000
"""How long recorded events stay, for those who follow the stream live."""


class Entry(NamedTuple):
    """One event as it came: its id in the stream and its text."""

    id: str
    text: bytes


class Offset(NamedTuple):
    """Up to where a shard is recorded, and of which Redis that is true."""

    gen: str
    stream_id: str


class EventStreams:
    """All shards' streams, read together."""

    def __init__(self, client: "Redis[Any]", shards: int) -> None:
        self.client = client
        self.shards = {redis_names.events(f"p{number}"): f"p{number}" for number in range(shards)}
        self.positions: dict[str, str] = {}
        self.gen = ""

    def open(self, stored: Mapping[str, Offset]) -> None:
        """Go to where each shard was left."""
        self.gen = self._generation()
        self.positions = {stream: self._position(stream, stored.get(shard)) for stream, shard in self.shards.items()}

    def is_same_redis(self) -> bool:
        """False: Redis has lost everything, or another one answers; the streams have to be opened again."""
        return bool(self.client.get(GEN) == self.gen.encode())

    def read(self, block_ms: int | None) -> dict[str, list[Entry]]:
        """The next events by shard; empty when none came in time. None does not wait at all."""
        reply = self.client.xread(dict(self.positions), count=READ_EVENTS, block=block_ms)
        found = {}
        for name, entries in reply or ():
            stream = name.decode()
            self.positions[stream] = entries[-1][0].decode()
            found[self.shards[stream]] = [Entry(id.decode(), fields.get(b"e", b"")) for id, fields in entries]
        return found

    def read_again(self, shard: str, after: str, count: int) -> list[Entry]:
        """The first entries behind a stream id, of those that were read."""
        stream = redis_names.events(shard)
        found = self.client.xrange(stream, f"({after}", self.positions[stream], count=count)
        return [Entry(id.decode(), fields.get(b"e", b"")) for id, fields in found]

    def announce(self, shard: str, events: Sequence[dict[str, Any]]) -> None:
        pipe = self.client.pipeline(transaction=False)
        for event in events:
            pipe.xadd(redis_names.events(shard), {"e": json.dumps(event, separators=(",", ":"))})
        pipe.execute()

    def trim(self, shard: str, recorded: str) -> None:
        """Drop what was recorded a while ago."""
        oldest = max(0, int(recorded.partition("-")[0]) - KEPT_MS)
        self.client.xtrim(redis_names.events(shard), minid=f"{oldest}-0", approximate=True)

    def _generation(self) -> str:
        self.client.set(GEN, uuid.uuid4().hex, nx=True)
        gen: bytes = self.client.get(GEN) or b""
        return gen.decode()

    def _position(self, stream: str, stored: Offset | None) -> str:
        if stored is None or stored.gen != self.gen:
            return START
        last = self._last_id(stream)
        if stream_order(stored.stream_id) > stream_order(last):
            log.warning(
                "stream %s ends at %s, before what is recorded: Redis is back from an older state", stream, last
            )
            return START
        return stored.stream_id

    def _last_id(self, stream: str) -> str:
        try:
            info: dict[str, Any] = self.client.xinfo_stream(stream)
        except ResponseError:  # there is no such stream
            return START
        last: bytes = info["last-generated-id"]
        return last.decode()
