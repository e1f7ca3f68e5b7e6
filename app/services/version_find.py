"""Finds the version that a launch or a schedule means, by what people call it."""

from typing import Any

from sqlalchemy import or_, select

from app.models import Project, Version, Workflow
from celesta.errors import InputError, NotFoundError, Problem

LEAST_PREFIX = 6


def find_version(session: Any, project: Project, workflow: str, version: str | None = None) -> Version:
    """The version of that digest, unique beginning of a digest, or label; the active one when none is named.

    Raises `NotFoundError`, which names the workflows that there are, or `InputError` when a prefix fits several.
    """
    found = session.scalars(_of_project(project).where(Workflow.name == workflow)).one_or_none()
    if found is None:
        names = ", ".join(session.scalars(select(Workflow.name).where(Workflow.project_id == project.id).limit(20)))
        raise NotFoundError(
            f'there is no workflow "{workflow}" in project "{project.name}"; registered are: {names or "none"}'
        )
    if version is None:
        active: Version = session.get(Version, found.active_version_id)
        return active
    return _named(session, found, version)


def _of_project(project: Project) -> Any:
    return select(Workflow).where(Workflow.project_id == project.id)


def _named(session: Any, workflow: Workflow, name: str) -> Version:
    fits = [Version.label == name]
    if len(name) >= LEAST_PREFIX:
        fits.append(Version.digest.startswith(name, autoescape=True))
    query = select(Version).where(Version.workflow_id == workflow.id, or_(*fits))
    versions: list[Version] = list(session.scalars(query.order_by(Version.created_at.desc())))
    labelled = [version for version in versions if version.label == name]
    if not versions:
        raise NotFoundError(f'workflow "{workflow.name}" has no version "{name}"')
    if not labelled and len(versions) > 1:
        raise InputError(
            [Problem("version", f'"{name}" is the beginning of {len(versions)} versions; give more of it')]
        )
    return (labelled or versions)[0]
