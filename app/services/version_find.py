"""Finds the version that a launch, a schedule or a person means, by what people call it."""

from typing import Any

from sqlalchemy import or_, select

from app.models import Project, Version, Workflow
from celesta.errors import InputError, NotFoundError, Problem
from celesta.nearest import nearest

LEAST_PREFIX = 6
NAMED = 1_000
"""Most names that are looked through for the nearest."""


def find_workflow(session: Any, project: Project, workflow: str) -> Workflow:
    """Raises `NotFoundError`, which names the nearest of the workflows that there are."""
    query = select(Workflow).where(Workflow.project_id == project.id, Workflow.name == workflow)
    found: Workflow | None = session.scalars(query).one_or_none()
    if found is None:
        names = select(Workflow.name).where(Workflow.project_id == project.id).order_by(Workflow.name).limit(NAMED)
        raise NotFoundError(
            f'there is no workflow "{workflow}" in project "{project.name}"; '
            f"{nearest(workflow, session.scalars(names), 'registered are')}"
        )
    return found


def find_version(session: Any, project: Project, workflow: str, version: str | None = None) -> Version:
    """The version of that digest, unique beginning of a digest, or label; the active one when none is named.

    Raises `NotFoundError`, which names the nearest, or `InputError` when a prefix fits several.
    """
    found = find_workflow(session, project, workflow)
    if version is None:
        active: Version = session.get(Version, found.active_version_id)
        return active
    return _named(session, found, version)


def _named(session: Any, workflow: Workflow, name: str) -> Version:
    fits = [Version.label == name]
    if len(name) >= LEAST_PREFIX:
        fits.append(Version.digest.startswith(name, autoescape=True))
    query = select(Version).where(Version.workflow_id == workflow.id, or_(*fits))
    versions: list[Version] = list(session.scalars(query))
    labelled = next((version for version in versions if version.label == name), None)
    if not versions:
        raise NotFoundError(
            f'workflow "{workflow.name}" has no version "{name}"; {nearest(name, _names(session, workflow))}'
        )
    if labelled is None and len(versions) > 1:
        raise InputError(
            [Problem("version", f'"{name}" is the beginning of {len(versions)} versions; give more of it')]
        )
    return labelled or versions[0]


def _names(session: Any, workflow: Workflow) -> list[str]:
    """Labels and short digests, the newest first."""
    query = select(Version.label, Version.digest).where(Version.workflow_id == workflow.id)
    rows = session.execute(query.order_by(Version.created_at.desc()).limit(NAMED)).all()
    return [label for label, _ in rows if label] + [digest[:12] for _, digest in rows]
