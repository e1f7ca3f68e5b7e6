"""Celery's chord protocol, extended: the result backend whose chord hook completes our steps.

Celery calls `on_chord_part_return` when a task with a `chord` option ends. Stock Celery counts the part and sends the
body when all are there; here one transition counts the step into every chord it belongs to. A thin adapter to
`complete`, and the one module that touches Celery's backend internals. Stores no results.

It never raises: Celery would call it again with FAILURE, and then from the worker's parent. Whatever could not be done
here stays in flight and is done by the reconciler.
"""

import logging
from dataclasses import dataclass
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import states
from celery.backends.redis import RedisBackend

from workers.engine.completing import complete
from workers.engine.kept import Kept
from workers.engine.running import expire
from workers.engine.settling import Ended

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcomes:
    """What a step message returns: the only thing that the hook takes for a result."""

    run: str
    ended: tuple[Ended, ...]
    keep: Kept | None = None
    """Where the hook leaves a step that the returning worker may take up at once, if it can."""

    def __repr__(self) -> str:
        return f"<{len(self.ended)} outcomes>"


class ChordBackend(RedisBackend):  # type: ignore[misc]
    """`result_backend = "workers.engine:ChordBackend+redis://…"`."""

    def on_chord_part_return(self, request: Any, state: str, result: Any, **_: Any) -> None:
        """Completes the steps of a message that succeeded; no other Celery state is ever a user's outcome."""
        try:
            if isinstance(result, Outcomes):
                if state == states.SUCCESS and result.ended:
                    complete(self.app.engine, result.run, result.ended, result.keep)
            elif isinstance(result, WorkerLostError):
                self._lost(request)
        except Exception:
            log.exception("a completion is left to the reconciler")

    def _lost(self, request: Any) -> None:
        """Runs in the worker's main process: the child is dead, so its own leases need not run out."""
        expire(self.app.engine, request.args[0])
