"""Cancels a run: the decision is committed first, then the engine is told to look."""

from typing import Any

from app.access import Principal, require
from app.config import Config
from app.db import writing
from app.dispatch import send_start
from app.models import RUN_TERMINAL, Project, Run
from app.models.columns import now
from app.services.audit import record


def cancel_run(session: Any, config: Config, principal: Principal, project: Project, run: Run) -> Run:
    """Idempotent, and harmless when the run has ended.

    Steps that run are killed; the run has ended when its status says so. When no broker answers the decision is kept,
    and the reconciler carries it out.
    """
    require(principal, "editor", project)
    with writing(session):
        session.refresh(run, with_for_update=True)
        if run.status in RUN_TERMINAL:
            return run
        if run.cancel_requested_at is None:
            run.cancel_requested_at = now()
            record(session, principal, "run.cancel", project, run.id)
    send_start(config.celery_broker_url, run.id)
    return run
