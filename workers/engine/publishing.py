"""Messages of the engine: ids only, several in one round trip.

A message is Celery's own (protocol 2, so that its tracer and our chord hook work as ever), with only the headers that a
worker reads: Celery's full set would pass 1.2 kB and cost more to make than the rest of a step. What cannot be
published is left in flight, where the reconciler finds it: nobody waits for a broker inside a transition.
"""

import logging
from collections.abc import Sequence
from typing import Any

from celery import Celery
from kombu.exceptions import KombuError, OperationalError
from kombu.utils.uuid import uuid

from app.dispatch import QUEUE_CONTROL, QUEUE_STEPS, TASK_FINISH, TASK_STEPS

log = logging.getLogger(__name__)

EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": 1}
"""The chord option makes Celery call `on_chord_part_return` at the end. An empty document would count as none."""
MESSAGES_AT_ONCE = 200


class Publisher:
    """Sends steps through an app's pool of producers."""

    def __init__(self, app: Celery) -> None:
        self.app = app

    def finish(self, run: str, attempts: Sequence[tuple[str, str]]) -> bool:
        """Says that these attempts (node, token), launched elsewhere, have ended. False: nobody was told; say it again.

        At most `BATCH_STEPS` of them, as in any message.
        """
        try:
            with self.app.producer_pool.acquire(block=True) as producer:
                _publish(producer, TASK_FINISH, [run, attempts], QUEUE_CONTROL)
        except (KombuError, OperationalError, OSError) as error:
            log.warning("run %s: %d ends are told later: %s", run, len(attempts), error)
            return False
        return True

    def __call__(self, run: str, batches: list[list[list[Any]]]) -> None:
        try:
            with self.app.producer_pool.acquire(block=True) as producer:
                if len(batches) == 1:
                    _publish(producer, TASK_STEPS, [run, batches[0]], QUEUE_STEPS)
                    return
                with producer.batch(max_size=MESSAGES_AT_ONCE):
                    for steps in batches:
                        _publish(producer, TASK_STEPS, [run, steps], QUEUE_STEPS)
        except (KombuError, OperationalError, OSError) as error:
            log.warning("run %s: %d messages are left to the reconciler: %s", run, len(batches), error)


def _publish(producer: Any, task: str, arguments: list[Any], queue: str) -> None:
    task_id = uuid()
    producer.publish(
        (arguments, {}, EMBED),
        routing_key=queue,
        serializer="json",
        headers={
            "task": task,
            "id": task_id,
            "argsrepr": "-",
            "ignore_result": True,
        },
        correlation_id=task_id,
        reply_to="",
    )
