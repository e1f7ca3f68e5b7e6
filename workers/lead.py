"""The lead: of several processes of a role one does the work, by a lease in Redis.

The reconciler, the watcher and beat are such roles. Two that believe to lead for a moment do no harm, since all that
they do is done once however often it is done; so a lease that runs out is enough, and nothing is fenced. Who rebuilds a
run leads too, and of that one `load.lua` asks the name.
"""

import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

LEAD_SECONDS = 10.0


class Lead:
    """One candidate."""

    def __init__(self, client: Redis, key: str, seconds: float = LEAD_SECONDS) -> None:
        self._client = client
        self._key = key
        self._ms = int(seconds * 1000)
        self.name = uuid.uuid4().hex

    def held(self) -> bool:
        """Takes the lead where nobody has it, and keeps it where this one has."""
        return bool(self._client.set(self._key, self.name, nx=True, px=self._ms)) or self.keep()

    def keep(self) -> bool:
        """Keeps the lead where this one has it. From any thread."""
        if self._client.get(self._key) != self.name.encode():
            return False
        return bool(self._client.pexpire(self._key, self._ms))

    @contextmanager
    def kept(self, most_seconds: float) -> Iterator[None]:
        """Keeps the lead beside what the caller does, for so long at most, and resigns when that is done."""
        done = threading.Event()
        keeper = threading.Thread(target=self._keep_until, args=(done, most_seconds), name="lead", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            done.set()
            keeper.join()
            self.resign()

    def _keep_until(self, done: threading.Event, most_seconds: float) -> None:
        every = self._ms / 3000
        for _ in range(int(most_seconds / every)):
            if done.wait(every):
                return
            try:
                if not self.keep():
                    return
            except RedisError as error:  # The next may come through; a lease is three of them.
                log.warning("the lead %s could not be kept now: %s", self._key, error)

    def resign(self) -> None:
        """Lets another lead at once."""
        try:
            if self._client.get(self._key) == self.name.encode():
                self._client.delete(self._key)
        except RedisError as error:
            log.warning("the lead %s runs out by itself: %s", self._key, error)
