"""Goes back to an earlier version in one audited action: the workflow, its schedules, and when asked aliases of models.

All or nothing, in one transaction: a schedule that could not run the earlier version refuses the whole of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from app.access import Principal, require
from app.db import writing
from app.models import Activation, AliasMove, Project, Schedule, Version, Workflow
from app.services.alias_move import rolled_back
from app.services.audit import record
from app.services.run_inputs import bind_inputs
from app.services.version_activate import latest_activation, locked
from app.services.version_find import find_version, find_workflow
from celesta.errors import ConflictError, InputError, Problem
from celesta.store import Store


@dataclass(frozen=True)
class RolledBack:
    """`schedules` are the names of all that launch the earlier version from now on, `aliases` what moved with it."""

    workflow: Workflow
    left: Version
    version: Version
    schedules: list[str]
    aliases: list[AliasMove]


def roll_back(
    session: Any,
    store: Store,
    principal: Principal,
    project: Project,
    workflow: str,
    to: str | None = None,
    aliases: Sequence[tuple[str, str]] = (),
) -> RolledBack:
    """Back to version `to`, else to the one that was active before; again goes back further.

    Schedules that follow the active version follow; those pinned to the version that is left are moved. Each of
    `aliases`, a model and its alias, goes back to the version of the model before. Raises
    `NotFoundError`, `ConflictError` when there is nothing to go back to, `InputError` naming each schedule whose inputs
    the earlier version does not take.
    """
    require(principal, "editor", project)
    found = find_workflow(session, project, workflow)
    named = find_version(session, project, workflow, to) if to else None
    with writing(session):
        found = locked(session, found.id)
        latest = latest_activation(session, found)
        link = _link_to(session, latest, named)
        version = named or (link.version if link else None)
        left: Version | None = session.get(Version, found.active_version_id)
        if left is None or version is None:
            raise ConflictError(
                f'no version of "{workflow}" was active before this one; there is nothing to go back to (to go to one '
                f"that came later: celesta workflows activate {workflow}@VERSION)"
            )
        if version.id == left.id:
            raise ConflictError(f'version {version.digest[:12]} of "{workflow}" is the active one already')
        schedules = _schedules(session, found, left)
        _require_fit(schedules, version, store)
        before = link.before_id if link else latest.id if latest else None
        _move(session, found, version, schedules, before, principal)
        names = [schedule.name for schedule in schedules]
        told = f"{workflow}@{version.digest[:12]}"
        moves = [rolled_back(session, principal, project, model, alias) for model, alias in aliases]
        record(session, principal, "workflow.rollback", project, told, left=left.digest, schedules=names)
    return RolledBack(found, left, version, names, moves)


def _move(
    session: Any,
    workflow: Workflow,
    version: Version,
    schedules: Sequence[Schedule],
    before: int | None,
    principal: Principal,
) -> None:
    for schedule in schedules:
        if schedule.version_id is not None:
            schedule.version_id = version.id
    workflow.active_version_id = version.id
    link = {"workflow_id": workflow.id, "version_id": version.id, "before_id": before}
    session.add(Activation(**link, action="rollback", by=principal.name))


def earlier(session: Any, workflow: Workflow) -> Version | None:
    """The version that a rollback goes back to; None when there is none."""
    link = _before(session, latest_activation(session, workflow))
    return link.version if link else None


def _link_to(session: Any, latest: Activation | None, named: Version | None) -> Activation | None:
    """The activation to go back to: the one before, or the last one of the named version that lies behind."""
    link = _before(session, latest)
    while named is not None and link is not None and link.version_id != named.id:
        link = _before(session, link)
    return link


def _before(session: Any, link: Activation | None) -> Activation | None:
    return session.get(Activation, link.before_id) if link is not None and link.before_id is not None else None


def _schedules(session: Any, workflow: Workflow, left: Version) -> list[Schedule]:
    """Those of its project that would launch the version that is left. What others pinned is theirs."""
    query = select(Schedule).where(Schedule.workflow_id == workflow.id, Schedule.project_id == workflow.project_id)
    query = query.order_by(Schedule.name)
    return [one for one in session.scalars(query) if one.version_id in (None, left.id)]


def _require_fit(schedules: Sequence[Schedule], version: Version, store: Store) -> None:
    problems: list[Problem] = []
    for schedule in schedules:
        try:
            if not schedule.paused:
                bind_inputs(version.interface, schedule.inputs, {}, {}, store)
        except InputError as error:
            where = f"schedules.{schedule.name}"
            problems += [Problem(f"{where}.inputs.{problem.where}", problem.message) for problem in error.problems]
    if problems:
        raise InputError(
            f"version {version.digest[:12]} cannot take over; pause these schedules, or delete them, first", problems
        )
