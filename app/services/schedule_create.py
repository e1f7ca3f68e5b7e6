"""Makes a schedule: a workflow that is launched by itself, at the times of a cron expression."""

import re
from collections.abc import Iterator
from typing import Any

from sqlalchemy import select

from app.access import Principal, require
from app.db import writing
from app.models import Project, Schedule
from app.services.audit import record
from app.services.cron import cron_problems
from app.services.run_inputs import bind_inputs
from app.services.share_find import usable_version
from celesta.errors import ConflictError, InputError, Problem
from celesta.store import Store

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\Z")


def create_schedule(
    session: Any,
    store: Store,
    principal: Principal,
    project: Project,
    *,
    name: str,
    workflow: str,
    cron: str,
    timezone: str = "UTC",
    version: str | None = None,
    inputs: dict[str, Any] | None = None,
) -> Schedule:
    """Without a version it launches whichever is active at each fire. Its runs are its maker's, in this project, also
    when the workflow is `owner/name` of a project that shares it.

    Raises `InputError` with all problems, `NotFoundError` for an unknown workflow or version, `ConflictError` for a
    taken name. `inputs` are plain JSON; they are checked now, and bound anew at each fire.
    """
    require(principal, "editor", project)
    chosen = usable_version(session, project, workflow, version)
    problems = list(_problems(name, cron, timezone, chosen.interface, inputs or {}, store))
    if problems:
        raise InputError("the schedule cannot be made", problems)
    taken = f'there is a schedule "{name}" in project "{project.name}" already'
    with writing(session, taken):
        known = select(Schedule.id).where(Schedule.project_id == project.id, Schedule.name == name)
        if session.scalars(known).one_or_none():
            raise ConflictError(taken)
        schedule = Schedule(
            project_id=project.id,
            name=name,
            workflow_id=chosen.workflow_id,
            version_id=chosen.id if version else None,
            cron=cron,
            timezone=timezone,
            inputs=inputs or {},
            created_by=principal.name,
        )
        session.add(schedule)
        record(session, principal, "schedule.create", project, name, cron=cron, timezone=timezone, workflow=workflow)
    return schedule


def _problems(
    name: str, cron: str, timezone: str, interface: dict[str, Any], inputs: dict[str, Any], store: Store
) -> Iterator[Problem]:
    if not NAME.match(name):
        yield Problem("name", f"{name!r} wants letters, digits and . _ - inside")
    yield from cron_problems(cron, timezone)
    try:
        bind_inputs(interface, inputs, {}, {}, store)
    except InputError as error:
        yield from (Problem(f"inputs.{problem.where}", problem.message) for problem in error.problems)
