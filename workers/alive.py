"""Proof that a role does its work, for a probe that cannot look inside: a file that is touched as long as it does.

The loops of recorder, watcher and beat touch it after each turn that went well; for a worker `Watch` does, which tells
one that waits for messages from one that has stopped taking them. `celesta server alive` looks at the file. Where no
`CELESTA_ALIVE_FILE` is set nothing is touched. A service that is away is no reason to restart a role that waits for it.
"""

import logging
from collections.abc import Callable
from threading import Event
from time import monotonic

from kombu.exceptions import OperationalError

from app import dispatch
from app.config import Config
from app.dispatch import QUEUE_STEPS

log = logging.getLogger(__name__)

EVERY_SECONDS = 5.0
STUCK_SECONDS = 60.0
"""A worker with free places that takes no message for so long, while some wait, has stopped consuming."""


def touch(config: Config) -> None:
    """The role has just done something, or waits for a service."""
    if config.alive_file is not None:
        try:
            config.alive_file.touch()
        except OSError as error:
            log.warning("%s cannot be touched: %s", config.alive_file, error)


class Watch:
    """Watches a worker from a thread of its main process. Asks the queue for its length, once in five seconds."""

    def __init__(self, config: Config, taken: Callable[[], int], running: Callable[[], int]) -> None:
        """`taken` is how many messages the worker has received in its life, `running` how many steps it has in hand."""
        self._config, self._taken, self._running = config, taken, running
        self._seen, self._well_at = taken(), monotonic()

    def run(self, stop: Event) -> None:
        while not stop.wait(EVERY_SECONDS):
            self.look()

    def look(self) -> None:
        """Touches the file, unless the worker has been stuck for too long."""
        taken = self._taken()
        if taken != self._seen or self._running() >= self._config.slots or not _waiting(self._config):
            self._seen, self._well_at = taken, monotonic()
        if monotonic() - self._well_at < STUCK_SECONDS:
            touch(self._config)


def of_worker(config: Config) -> Callable[[Event], None]:
    """The loop that watches the Celery worker of this process."""
    from celery.worker import state

    return Watch(config, lambda: sum(state.total_count.values()), lambda: len(state.active_requests)).run


def _waiting(config: Config) -> int:
    """Messages that wait; none where the broker does not say."""
    try:
        return dispatch.waiting(config.celery_broker_url)[QUEUE_STEPS]
    except OperationalError:
        return 0
