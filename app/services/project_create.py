"""Makes a project; whoever makes it owns it."""

import re
from typing import Any

from sqlalchemy import select

from app.access import Principal
from app.db import writing
from app.models import Member, Project
from app.services.audit import record
from celesta.errors import AccessError, ConflictError, InputError, Problem

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,48}[a-z0-9])?\Z")


def create_project(session: Any, principal: Principal, name: str, description: str = "") -> Project:
    """Raises `InputError` for a bad name and `ConflictError` for a taken one."""
    if principal.restricted:
        raise AccessError("this token cannot make projects; use one for all of the user's projects, with role owner")
    if not NAME.match(name):
        raise InputError([Problem("name", f"{name!r} wants 1 to 50 characters of a-z, 0-9 and inner hyphens")])
    taken = f'there is a project "{name}" already'
    with writing(session, taken):
        if session.scalars(select(Project.id).where(Project.name == name)).one_or_none():
            raise ConflictError(taken)
        project = Project(name=name, description=description)
        session.add(project)
        session.flush()
        if principal.user_id is not None:
            session.add(Member(project_id=project.id, user_id=principal.user_id, role="owner"))
        record(session, principal, "project.create", project, name)
    return project
