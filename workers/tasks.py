"""The Celery tasks. Each looks up what its ids mean and hands over to the engine.

Step tasks never raise a user's error through Celery and store no result: they return `Outcomes`, which Celery hands to
the chord hook at their end. Refuses Celery's own retries, expiry and countdowns: those live in a worker's memory.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

from celery import Task, states
from celery.exceptions import Ignore

from app.dispatch import TASK_FINISH, TASK_START, TASK_STEPS
from workers import child, sources
from workers.engine import control, start
from workers.engine.backend import Outcomes
from workers.engine.manifests import read
from workers.engine.settling import Ended

if TYPE_CHECKING:
    from workers.celery_app import CelestaApp


def register(app: "CelestaApp") -> None:
    """Adds the tasks to an application."""
    app.task(start_run, name=TASK_START, bind=True)
    app.task(run_steps, name=TASK_STEPS, bind=True)
    app.task(finish_step, name=TASK_FINISH, bind=True)


def start_run(self: Task, run_id: str) -> None:
    """A run was committed, or somebody decided about it: the engine looks at the run. May come twice."""
    with sources.database(self.app.config):
        source, cancelled = sources.load(run_id)
        start(self.app.engine, source)
    if cancelled:
        control(self.app.engine, run_id, "cancel")


def run_steps(self: Task, run_id: str, steps: list[list[Any]]) -> Outcomes:
    """Steps of a run are ready: (node, attempt) each. What others took or superseded is left alone."""
    report = partial(_report, self, run_id)
    ended = child.runner(self.app).run(run_id, steps, report)
    if not ended:
        raise Ignore
    return Outcomes(run_id, tuple(ended))


def finish_step(self: Task, run_id: str, node: str, token: str) -> Outcomes:
    """An attempt that was launched elsewhere has ended; its result document is in the store."""
    view = self.app.engine.views.of(run_id)
    result = read(self.app.engine.store, view, node, token) if view else None
    if result is None:
        raise Ignore
    return Outcomes(run_id, (Ended(node, token, result),))


def _report(task: Task, run_id: str, ended: list[Ended]) -> None:
    """A part of a message's steps is done before the rest: the same hook, earlier."""
    task.backend.on_chord_part_return(task.request, states.SUCCESS, Outcomes(run_id, tuple(ended)))
