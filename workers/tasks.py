"""The Celery tasks. Each looks up what its ids mean and hands over to the engine.

Step tasks never raise a user's error through Celery and store no result: they return `Outcomes`, which Celery hands to
the chord hook at their end; none when nothing ended here (`Ignore` would say the same, and its traceback costs as much
as a launch). Refuses Celery's own retries, expiry and countdowns: those live in a worker's memory.
"""

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from celery import Task, states

from app.dispatch import TASK_FINISH, TASK_START, TASK_STEPS
from workers import child, sources
from workers.engine import answer, start
from workers.engine.backend import Outcomes
from workers.engine.external import ended_elsewhere
from workers.engine.kept import Kept
from workers.engine.settling import Ended

if TYPE_CHECKING:
    from workers.celery_app import CelestaApp


HANDOVER_SECONDS = 0.5
"""How long one message may lead from step to step before the queue is asked again."""


def register(app: "CelestaApp") -> None:
    """Adds the tasks to an application."""
    app.task(start_run, name=TASK_START, bind=True)
    app.task(run_steps, name=TASK_STEPS, bind=True)
    app.task(finish_steps, name=TASK_FINISH, bind=True)


def start_run(self: Task, run_id: str) -> None:
    """A run was committed, or somebody decided about it: the engine looks at the run. May come twice."""
    with sources.database(self.app.config):
        start(self.app.engine, sources.load(run_id))
        answers = sources.answers(run_id)
    if answers:
        answer(self.app.engine, run_id, answers)


def run_steps(self: Task, run_id: str, steps: list[list[Any]]) -> Outcomes:
    """Steps of a run are ready: (node, attempt) each. What others took or superseded is left alone.

    Where a step makes another ready, this child takes that one up without a message, for a moment: the part returns
    through the same hook, and what waits in the queue gets its turn soon.
    """
    runner, report = child.runner(self.app), partial(_report, self, run_id)
    until = monotonic() + HANDOVER_SECONDS
    ended = runner.run(run_id, steps, report)
    while ended and monotonic() < until and runner.leads_on(run_id, ended):
        kept = Kept(runner.worker)
        _report(self, run_id, ended, keep=kept)
        ended = runner.go_on(run_id, kept, report)
    return Outcomes(run_id, tuple(ended))


def finish_steps(self: Task, run_id: str, attempts: list[list[str]]) -> Outcomes:
    """Attempts (node, token) that were launched elsewhere have ended: with a result in the store, or cancelled."""
    return Outcomes(
        run_id, tuple(ended_elsewhere(self.app.engine, run_id, [(node, token) for node, token in attempts]))
    )


def _report(task: Task, run_id: str, ended: list[Ended], keep: Kept | None = None) -> None:
    """A part returns before its message ends: by the same hook, earlier."""
    task.backend.on_chord_part_return(task.request, states.SUCCESS, Outcomes(run_id, tuple(ended), keep))
