"""Fires schedules: each moment of each schedule once, however many beats there are and whenever they die.

Beat calls `fire_due` again and again. A fire is claimed by its row in `schedule_fire`, whose key is the schedule and
the moment; its run is launched under an idempotency key made of the same. A beat that dies between the two leaves a
claim without a run, which the next call launches. After an outage only the latest missed fire is made up for: ten
missed nights are not ten runs in the morning. A workflow of another project is asked for at each fire: when it is not
shared any more, the fire says so and launches nothing.
"""

import logging
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from app.access import Principal
from app.config import Config
from app.db import writing
from app.models import Schedule, ScheduleFire
from app.services.cron import latest_fire, next_fire
from app.services.run_launch import launch_run
from app.stores import store_of
from celesta.errors import CelestaError

log = logging.getLogger(__name__)


def fire_due(session: Any, config: Config, moment: datetime) -> datetime | None:
    """Fire what is due at `moment` and return when the next fire is; None when nothing is scheduled."""
    upcoming = []
    columns = Schedule.id, Schedule.cron, Schedule.timezone, Schedule.last_fire_at, Schedule.created_at
    for row in session.execute(select(*columns).where(Schedule.paused.is_(False))).all():
        due = latest_fire(row.cron, row.timezone, moment)
        if due is not None and due > (row.last_fire_at or row.created_at):
            _claim(session, row.id, due)
        upcoming.append(next_fire(row.cron, row.timezone, moment))
    _launch_claimed(session, config)
    return min((fire for fire in upcoming if fire), default=None)


def _claim(session: Any, schedule_id: int, fire_at: datetime) -> None:
    """Harmless when another beat has claimed this fire."""
    with writing(session):
        insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
        row = {"schedule_id": schedule_id, "fire_at": fire_at}
        session.execute(insert(ScheduleFire).values(row).on_conflict_do_nothing())
        older = or_(Schedule.last_fire_at.is_(None), Schedule.last_fire_at < fire_at)
        session.execute(update(Schedule).where(Schedule.id == schedule_id, older).values(last_fire_at=fire_at))


def _launch_claimed(session: Any, config: Config) -> None:
    """Launch what was claimed, by us or by a beat that died. What cannot be launched at all says why, once."""
    waiting = select(ScheduleFire).where(ScheduleFire.run_id.is_(None), ScheduleFire.error.is_(None))
    for fire in session.scalars(waiting).all():
        schedule = session.get(Schedule, fire.schedule_id)
        if schedule is None:
            continue
        try:
            run_id, error = _launch(session, config, schedule, fire.fire_at), None
        except CelestaError as problem:
            if problem.retryable:
                raise
            log.warning('schedule "%s" did not fire: %s', schedule.name, problem)
            run_id, error = None, str(problem)
        with writing(session):
            fire.run_id, fire.error = run_id, error


def _launch(session: Any, config: Config, schedule: Schedule, fire_at: datetime) -> str:
    project = schedule.project
    run = launch_run(
        session,
        config,
        store_of(config),
        Principal(schedule.created_by, roles={project.id: "editor"}),
        project,
        workflow=schedule.workflow_name,
        version=schedule.version.digest if schedule.version else None,
        inputs=schedule.inputs,
        idempotency_key=f"schedule:{schedule.id}:{fire_at.astimezone(UTC).isoformat()}",
        schedule_id=schedule.id,
    )
    return run.id
