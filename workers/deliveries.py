"""Notices deliveries that nothing will ever acknowledge, and has the consumer connect again.

A bootstep of Celery's consumer (`workers.celery_app` adds it). When the broker goes away in the moment of an
acknowledgement, Celery logs that it failed and goes on. The message then counts as unacknowledged for as long as the
connection lives: the prefetch window is full, nothing is read from the broker any more, and so the loss of the
connection is never noticed either (celery/celery#8030, #8091). A connection made anew begins with an empty window; what
was delivered twice by that is refused at the claim.
"""

from typing import Any

from celery import bootsteps
from celery.worker import state

EVERY_SECONDS = 1.0


class Deliveries(bootsteps.StartStopStep):  # type: ignore[misc]
    """Looks at the prefetch window while the consumer runs."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._seen: set[Any] = set()

    def start(self, parent: Any) -> None:
        self._seen = set()
        if parent.hub is not None:
            parent.hub.call_repeatedly(EVERY_SECONDS, self.look, parent)

    def look(self, parent: Any) -> None:
        """Raises an error of the connection when more deliveries are open, twice in a row, than requests wait."""
        window = getattr(getattr(parent.task_consumer, "channel", None), "qos", None)
        delivered = set(getattr(window, "_delivered", ())) - getattr(window, "_dirty", set())
        lasting, self._seen = delivered & self._seen, delivered
        if len(lasting) > _waiting():
            self._seen = set()
            raise ConnectionResetError(f"{len(lasting)} deliveries were never acknowledged to the broker")


def _waiting() -> int:
    """Requests that are still to be acknowledged."""
    return sum(not request.acknowledged for request in {*state.reserved_requests, *state.active_requests})
