"""Finds what a project may use of others: `team/train` is the workflow `train` of project `team`, where that is shared.

Launches and references ask here. What is not shared is not there: its name does not leak either.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import joinedload

from app.models import Project, Share, Version, Workflow
from app.services.version_find import find_version
from celesta.errors import NotFoundError
from celesta.nearest import nearest


def usable_version(session: Any, project: Project, workflow: str, version: str | None = None) -> Version:
    """A version of the project's own, or of a shared workflow. Raises `NotFoundError`, which names the nearest."""
    owner, slash, name = workflow.partition("/")
    own = select(Workflow.id).where(Workflow.project_id == project.id, Workflow.name == workflow)
    if not slash or session.scalar(own) is not None:
        return find_version(session, project, workflow, version)
    return find_version(session, shared_home(session, project, owner, name), name, version)


def shared_home(session: Any, project: Project, owner: str, name: str) -> Project:
    """The project that shares this workflow with `project`. Raises `NotFoundError`."""
    for found in received(session, project):
        if (found.project.name, found.name) == (owner, name):
            return found.project
    known = [f"{found.project.name}/{found.name}" for found in received(session, project)]
    raise NotFoundError(
        f'no workflow "{owner}/{name}" is shared with project "{project.name}"; '
        f"{nearest(f'{owner}/{name}', known, 'shared are')}"
    )


def received(session: Any, project: Project) -> Sequence[Workflow]:
    """The workflows of other projects that this one may use, by project and name."""
    shared = select(Share.id).where(
        Share.with_id == project.id,
        Share.project_id == Workflow.project_id,
        or_(Share.workflow_id.is_(None), Share.workflow_id == Workflow.id),
    )
    query = select(Workflow).join(Project, Project.id == Workflow.project_id).where(shared.exists())
    query = query.options(joinedload(Workflow.project), joinedload(Workflow.active_version))
    found: Sequence[Workflow] = session.scalars(query.order_by(Project.name, Workflow.name)).unique().all()
    return found


def given(session: Any, project: Project) -> Sequence[Share]:
    """What a project shares, and with whom."""
    query = select(Share).where(Share.project_id == project.id).order_by(Share.id)
    found: Sequence[Share] = session.scalars(
        query.options(joinedload(Share.receiver), joinedload(Share.workflow))
    ).all()
    return found
