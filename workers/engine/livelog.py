"""The log and the metrics of a running attempt, as they come: short-lived keys in Redis for those who watch.

The executor calls `write` and `measure` while an attempt runs longer than a moment; the whole of both is in the store
at its end. Keeps at most 256 kB of one attempt's log, and its last 10,000 metrics. A Redis that does not answer costs
the watchers a piece, and the step nothing.
"""

import contextlib
import json
from collections import OrderedDict, deque
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from workers.engine import keys

KEPT_BYTES = 256 * 1024
KEPT_METRICS = 10_000
KEPT_SECONDS = 3600
ATTEMPTS = 64


class LiveLog:
    """The live logs of one process' attempts."""

    def __init__(self, client: Redis) -> None:
        self.client = client
        self._pieces: OrderedDict[str, deque[tuple[bytes, int]]] = OrderedDict()

    def write(self, run: str, node: str, token: str, data: bytes) -> None:
        """Appends a piece."""
        with contextlib.suppress(RedisError):
            self._append(keys.live_log(run, node, token), data)

    def measure(self, run: str, node: str, token: str, metrics: list[dict[str, Any]]) -> None:
        """Appends metrics; all of them are in the result at the end."""
        key = keys.live_metrics(run, node, token)
        with contextlib.suppress(RedisError):
            pipe = self.client.pipeline(transaction=False)
            pipe.rpush(key, *(json.dumps(metric) for metric in metrics))
            pipe.ltrim(key, -KEPT_METRICS, -1)
            pipe.expire(key, KEPT_SECONDS)
            pipe.execute()

    def _append(self, key: str, data: bytes) -> None:
        pieces = self._pieces.setdefault(key, deque())
        pipe = self.client.pipeline(transaction=False)
        pipe.xadd(key, {"d": data})
        pipe.expire(key, KEPT_SECONDS)
        pieces.append((pipe.execute()[0], len(data)))
        size = sum(length for _, length in pieces)
        while size > KEPT_BYTES and len(pieces) > 1:
            size -= pieces.popleft()[1]
            self.client.xtrim(key, minid=pieces[0][0], approximate=False)
        while len(self._pieces) > ATTEMPTS:
            self._pieces.popitem(last=False)
