"""Lets another project use a workflow, a task, or all that a project has; and ends it. For owners of what is shared."""

from typing import Any

from sqlalchemy import select

from app.access import Principal, require
from app.db import writing
from app.models import Project, Share, Workflow
from app.services.audit import record
from app.services.version_find import find_workflow
from celesta.errors import InputError, NotFoundError, Problem


def share(session: Any, principal: Principal, project: Project, receiver: str, workflow: str | None = None) -> Share:
    """Idempotent. Editors of `receiver` may launch it and refer to it from then on; what it reads stays its owner's.

    Raises `NotFoundError` for an unknown project or workflow.
    """
    require(principal, "owner", project)
    other = _receiver(session, project, receiver)
    found = find_workflow(session, project, workflow) if workflow else None
    with writing(session):
        session.execute(select(Project.id).where(Project.id == project.id).with_for_update())
        given: Share | None = session.scalars(_of(project, other, found)).one_or_none()
        if given is None:
            workflow_id = found.id if found else None
            given = Share(project_id=project.id, workflow_id=workflow_id, with_id=other.id, created_by=principal.name)
            session.add(given)
            record(session, principal, "project.share", project, workflow or project.name, receiver=other.name)
    return given


def unshare(session: Any, principal: Principal, project: Project, receiver: str, workflow: str | None = None) -> None:
    """Versions that refer to it keep what they were linked to. Raises `NotFoundError` when it was not shared so."""
    require(principal, "owner", project)
    other = _receiver(session, project, receiver)
    found = find_workflow(session, project, workflow) if workflow else None
    with writing(session):
        given = session.scalars(_of(project, other, found)).one_or_none()
        if given is None:
            what = f'workflow "{workflow}"' if workflow else f'project "{project.name}" as a whole'
            raise NotFoundError(f'{what} is not shared with "{receiver}"; see: celesta projects shares list')
        session.delete(given)
        record(session, principal, "project.unshare", project, workflow or project.name, receiver=other.name)


def _receiver(session: Any, project: Project, name: str) -> Project:
    found: Project | None = session.scalars(select(Project).where(Project.name == name)).one_or_none()
    if found is None:
        raise NotFoundError(f'there is no project "{name}" to share with')
    if found.id == project.id:
        raise InputError([Problem("with", f'"{name}" is this project itself')])
    return found


def _of(project: Project, receiver: Project, workflow: Workflow | None) -> Any:
    query = select(Share).where(Share.project_id == project.id, Share.with_id == receiver.id)
    return query.where(Share.workflow_id == workflow.id if workflow else Share.workflow_id.is_(None))
