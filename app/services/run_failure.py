"""What a failed run failed at: the step that failed first, with what it was given. For REST and pages.

Writes nothing.
"""

from typing import Any

from sqlalchemy import select

from app.models import Run, Step
from app.services.session import Session
from app.services.step_inputs import StepInputs
from app.services.workflow_query import load_plan
from celesta.store import Store

Document = dict[str, Any]


def with_inputs(session: Session, run: Run, store: Store) -> Document | None:
    """The run's error, where it has one, with its step's node, `inputs` (type, digest and preview by name) and
    `log_bytes`."""
    error: Document | None = run.error
    if not error or not error.get("path"):
        return error
    step = session.scalars(select(Step).where(Step.run_id == run.id, Step.path == error["path"]).limit(1)).one_or_none()
    if step is None:
        return error
    inputs = StepInputs(session, run, load_plan(store, run.version.plan_blob), [step], store).of(step)
    return error | {"node": step.node, "inputs": inputs, "log_bytes": step.log_bytes}
