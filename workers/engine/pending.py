"""Why what was launched has not begun, in words: short-lived keys in Redis for those who look at the step.

The worker writes it for a launch that is put off, the watcher for a pod that waits. A Redis that does not answer costs
those who look a reason, and the step nothing.
"""

import contextlib
from collections.abc import Iterable, Mapping

from redis import Redis
from redis.exceptions import RedisError

from workers.engine import keys

Attempt = tuple[str, str, str]
"""Run, node, token."""
MOST_CHARACTERS = 1_000


def tell(client: Redis, reasons: Mapping[Attempt, str], seconds: float, begun: Iterable[Attempt] = ()) -> None:
    """Keeps reasons for so long, and forgets those of attempts that have begun."""
    with contextlib.suppress(RedisError):
        pipe = client.pipeline(transaction=False)
        for attempt, text in reasons.items():
            pipe.set(keys.pending(*attempt), text[:MOST_CHARACTERS], px=int(seconds * 1000))
        for attempt in begun:
            pipe.delete(keys.pending(*attempt))
        pipe.execute()
