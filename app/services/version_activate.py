"""Which version of a workflow `launch` and its schedules use: `activate` chooses one.

`mark_active` is the one place that changes it, inside the transaction of whoever registers, activates or rolls back.
"""

from typing import Any

from sqlalchemy import select

from app.access import Principal, require
from app.db import writing
from app.models import Activation, Project, Version, Workflow
from app.services.audit import record
from app.services.version_find import find_version


def activate_version(session: Any, principal: Principal, project: Project, workflow: str, version: str) -> Version:
    """Makes a version the active one; idempotent. Raises `NotFoundError`, which names the nearest."""
    require(principal, "editor", project)
    chosen = find_version(session, project, workflow, version)
    with writing(session):
        found = locked(session, chosen.workflow_id)
        mark_active(session, found, chosen, "activate", principal.name)
        record(session, principal, "workflow.activate", project, f"{workflow}@{chosen.digest[:12]}")
    return chosen


def locked(session: Any, workflow_id: int) -> Workflow:
    """The workflow for this transaction alone."""
    found: Workflow = session.scalars(select(Workflow).where(Workflow.id == workflow_id).with_for_update()).one()
    return found


def mark_active(session: Any, workflow: Workflow, version: Version, action: str, by: str) -> None:
    """A new link of the chain that `rollback` walks; a version that is active already keeps its place in it."""
    latest = latest_activation(session, workflow)
    again = latest is not None and latest.version_id == version.id
    if again and action == "register":
        return
    workflow.active_version_id = version.id
    before = (latest.before_id if again else latest.id) if latest else None
    session.add(Activation(workflow_id=workflow.id, version_id=version.id, before_id=before, action=action, by=by))


def is_chosen(session: Any, workflow: Workflow) -> bool:
    """Whether somebody chose the active version, so that only a registration which means to may replace it."""
    latest = latest_activation(session, workflow)
    return latest is not None and latest.action != "register"


def latest_activation(session: Any, workflow: Workflow) -> Activation | None:
    query = select(Activation).where(Activation.workflow_id == workflow.id).order_by(Activation.id.desc()).limit(1)
    found: Activation | None = session.scalars(query).one_or_none()
    return found
