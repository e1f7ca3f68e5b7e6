"""Step messages: ids only, several in one round trip.

A message is Celery's own (protocol 2, so that its tracer and our chord hook work as ever), with only the headers that a
worker reads: Celery's full set would pass 1.2 kB and cost more to make than the rest of a step. What cannot be
published is left in flight, where the reconciler finds it: nobody waits for a broker inside a transition.
"""

import logging
from typing import Any

from celery import Celery
from kombu.exceptions import KombuError, OperationalError
from kombu.utils.uuid import uuid

from app.dispatch import QUEUE_STEPS, TASK_STEPS

log = logging.getLogger(__name__)

EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": 1}
"""The chord option makes Celery call `on_chord_part_return` at the end. An empty document would count as none."""
MESSAGES_AT_ONCE = 200


class Publisher:
    """Sends steps through an app's pool of producers."""

    def __init__(self, app: Celery) -> None:
        self.app = app

    def __call__(self, run: str, batches: list[list[list[Any]]]) -> None:
        try:
            with self.app.producer_pool.acquire(block=True) as producer:
                if len(batches) == 1:
                    _publish(producer, run, batches[0])
                    return
                with producer.batch(max_size=MESSAGES_AT_ONCE):
                    for steps in batches:
                        _publish(producer, run, steps)
        except (KombuError, OperationalError, OSError) as error:
            log.warning("run %s: %d messages are left to the reconciler: %s", run, len(batches), error)


def _publish(producer: Any, run: str, steps: list[list[Any]]) -> None:
    task_id = uuid()
    producer.publish(
        ([run, steps], {}, EMBED),
        routing_key=QUEUE_STEPS,
        serializer="json",
        headers={
            "task": TASK_STEPS,
            "id": task_id,
            "argsrepr": "-",
            "ignore_result": True,
        },
        correlation_id=task_id,
        reply_to="",
    )
