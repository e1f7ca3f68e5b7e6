"""Pauses a run and lets it go on: the decision is committed first, then the engine is told to look."""

from typing import Any

from app.access import Principal, require
from app.config import Config
from app.db import writing
from app.dispatch import send_start
from app.models import RUN_TERMINAL, Project, Run
from app.models.columns import now
from app.services.audit import record
from celesta.errors import ConflictError


def pause_run(session: Any, config: Config, principal: Principal, project: Project, run: Run) -> Run:
    """From now on no step starts; those that run go on to their end. Idempotent.

    Raises `ConflictError` when the run has ended, or is being cancelled.
    """
    return _decide(session, config, principal, project, run, paused=True)


def resume_run(session: Any, config: Config, principal: Principal, project: Project, run: Run) -> Run:
    """The steps of a paused run start again. Idempotent. Raises as `pause_run`."""
    return _decide(session, config, principal, project, run, paused=False)


def _decide(session: Any, config: Config, principal: Principal, project: Project, run: Run, *, paused: bool) -> Run:
    require(principal, "editor", project)
    verb = "pause" if paused else "resume"
    with writing(session):
        session.refresh(run, with_for_update=True)
        if run.status in RUN_TERMINAL:
            ended = "was cancelled" if run.status == "cancelled" else f"has {run.status}"
            raise ConflictError(f"run {run.id} {ended} already, so there is nothing to {verb}")
        if run.cancel_requested_at is not None:
            raise ConflictError(f"run {run.id} is being cancelled, and a cancelled run stays so")
        if paused != (run.paused_at is not None):
            run.paused_at = now() if paused else None
            record(session, principal, f"run.{verb}", project, run.id)
    send_start(config.celery_broker_url, run.id)
    return run
