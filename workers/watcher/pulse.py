"""The watcher's proof of life, from a thread of its own: its lead is kept and its file touched whatever a tick takes.

A loop that does not come round for a long time is stuck for good: then its pulse stops, so that another watcher leads
and a probe has this one restarted.
"""

import logging
import threading
from collections.abc import Callable
from time import monotonic

from redis.exceptions import RedisError

from workers.lead import LEAD_SECONDS, Lead

log = logging.getLogger(__name__)

EVERY_SECONDS = LEAD_SECONDS / 4
STUCK_SECONDS = 120.0
"""Longer than all that a tick waits for: Redis and the database, with their own time-outs."""


class Pulse(threading.Thread):
    """Beats until it is told to stop, as long as somebody says now and then that the loop `went_on`."""

    def __init__(self, lead: Lead, touch: Callable[[], None]) -> None:
        super().__init__(name="pulse", daemon=True)
        self._lead = lead
        self._touch = touch
        self._over = threading.Event()
        self._went_on_at = monotonic()

    def went_on(self) -> None:
        self._went_on_at = monotonic()

    def run(self) -> None:
        while not self._over.wait(EVERY_SECONDS):
            self.beat()

    def stop(self) -> None:
        self._over.set()
        self.join()

    def beat(self) -> None:
        if monotonic() - self._went_on_at >= STUCK_SECONDS:
            log.error("the watcher's loop is stuck, and leads no longer")
            return
        self._touch()
        try:
            self._lead.keep()
        except RedisError as error:
            log.warning("the lead cannot be kept now: %s", error)
