"""Ends a schedule. Its runs stay."""

from typing import Any

from sqlalchemy import select

from app.access import Principal, require
from app.db import writing
from app.models import Project, Schedule
from app.services.audit import record
from celesta.errors import NotFoundError


def delete_schedule(session: Any, principal: Principal, project: Project, name: str) -> None:
    """Raises `NotFoundError`. A fire that was claimed and not launched is dropped with it."""
    require(principal, "editor", project)
    with writing(session):
        query = select(Schedule).where(Schedule.project_id == project.id, Schedule.name == name)
        schedule = session.scalars(query).one_or_none()
        if schedule is None:
            raise NotFoundError(f'there is no schedule "{name}" in project "{project.name}"')
        session.delete(schedule)
        record(session, principal, "schedule.delete", project, name)
