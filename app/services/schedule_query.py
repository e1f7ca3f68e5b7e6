"""Reads schedules and their last fires for the REST interface. Writes nothing."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import aliased, joinedload

from app.models import Project, Schedule, ScheduleFire, Version, Workflow
from app.services.cron import next_fire
from app.services.moments import iso
from app.services.paging import Page, decode, page_of
from app.services.session import Session
from celesta.errors import NotFoundError

Document = dict[str, Any]


def page(session: Session, project: Project, *, cursor: str = "", limit: int = 50) -> Page[Schedule]:
    """The schedules of a project by name."""
    query = _of(project).order_by(Schedule.name).limit(limit + 1)
    if cursor:
        query = query.where(Schedule.name > decode(cursor, str)[0])
    return page_of(session.scalars(query).all(), limit, lambda schedule: (schedule.name,))


def get(session: Session, project: Project, name: str) -> Schedule:
    schedule: Schedule | None = session.scalar(_of(project).where(Schedule.name == name))
    if schedule is None:
        raise NotFoundError(f'there is no schedule "{name}" in project "{project.name}"; see: celesta schedules list')
    return schedule


def documents(session: Session, schedules: list[Schedule]) -> list[Document]:
    """Each with its last fire: the run that came of it, or why none did."""
    fires = _last_fires(session, [schedule.id for schedule in schedules])
    return [_document(schedule, fires.get(schedule.id)) for schedule in schedules]


def _of(project: Project) -> Any:
    return (
        select(Schedule)
        .where(Schedule.project_id == project.id)
        .options(
            joinedload(Schedule.workflow).joinedload(Workflow.project),
            joinedload(Schedule.version).load_only(Version.digest),
        )
    )


def _last_fires(session: Session, ids: list[int]) -> dict[int, ScheduleFire]:
    inner = aliased(ScheduleFire)
    newest = select(func.max(inner.fire_at)).where(inner.schedule_id == ScheduleFire.schedule_id).scalar_subquery()
    query = select(ScheduleFire).where(ScheduleFire.schedule_id.in_(ids), ScheduleFire.fire_at == newest)
    return {fire.schedule_id: fire for fire in session.scalars(query)}


def _document(schedule: Schedule, fire: ScheduleFire | None) -> Document:
    upcoming = None if schedule.paused else next_fire(schedule.cron, schedule.timezone, datetime.now(UTC))
    return {
        "name": schedule.name,
        "workflow": schedule.workflow_name,
        "version": schedule.version.digest if schedule.version else None,
        "cron": schedule.cron,
        "timezone": schedule.timezone,
        "inputs": schedule.inputs,
        "paused": schedule.paused,
        "created_by": schedule.created_by,
        "created_at": iso(schedule.created_at),
        "last_fire_at": iso(schedule.last_fire_at),
        "next_fire_at": iso(upcoming),
        "last_run_id": fire.run_id if fire else None,
        "last_error": fire.error if fire else None,
    }
