"""Sets what a project's runs may use at once: places of a named limit, and the project's share of the workers.

Committed here; the reconciler takes it to the engine within seconds.
"""

from typing import Any

from app.access import Principal, require
from app.db import writing
from app.models import Project
from app.services.audit import record
from celesta.errors import AccessError, InputError, NotFoundError, Problem
from celesta.options import LIMIT_NAME

MOST_PLACES = 100_000
MOST_WEIGHT = 1_000


def set_limit(session: Any, principal: Principal, project: Project, name: str, places: int) -> Project:
    """At most `places` steps that name the limit are at work at once; 0 lets none start. Raises `InputError`."""
    require(principal, "owner", project)
    problems = []
    if not LIMIT_NAME.fullmatch(name):
        problems.append(Problem("name", f"{name!r} wants 1 to 63 characters of a-z, 0-9, and inner _ . -"))
    if not 0 <= places <= MOST_PLACES:
        problems.append(Problem("places", f"{places} is not a number from 0 to {MOST_PLACES}"))
    if problems:
        raise InputError(problems)
    with writing(session):
        session.refresh(project, with_for_update=True)
        project.limits = {**project.limits, name: places}
        record(session, principal, "project.limit", project, name, places=places)
    return project


def remove_limit(session: Any, principal: Principal, project: Project, name: str) -> None:
    """Raises `NotFoundError`. Steps that name it wait, and new runs that do are refused, until it is set again."""
    require(principal, "owner", project)
    with writing(session):
        session.refresh(project, with_for_update=True)
        if name not in project.limits:
            known = ", ".join(sorted(project.limits)) or "none"
            raise NotFoundError(f'the project "{project.name}" has no limit "{name}"; limits are: {known}')
        project.limits = {other: places for other, places in project.limits.items() if other != name}
        record(session, principal, "project.limit", project, name, places=None)


def set_weight(session: Any, principal: Principal, project: Project, weight: int) -> Project:
    """For the operator of the server: a project must not raise its own share over the others'."""
    if principal.everywhere != "owner":
        raise AccessError("only the operator of this server says how projects share its workers")
    if not 1 <= weight <= MOST_WEIGHT:
        raise InputError([Problem("weight", f"{weight} is not a number from 1 to {MOST_WEIGHT}")])
    with writing(session):
        session.refresh(project, with_for_update=True)
        project.weight = weight
        record(session, principal, "project.weight", project, project.name, weight=weight)
    return project


def require_limits(project: Project, names: set[str]) -> None:
    """Refuses a run whose steps would wait for ever. Raises `InputError` that says how to set what is missing."""
    missing = sorted(names - project.limits.keys())
    if missing:
        problems = [
            Problem(name, f"is no limit of project {project.name}: celesta projects limits set {name} PLACES")
            for name in missing
        ]
        raise InputError("the run names limits that are not set", problems)
