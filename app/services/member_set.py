"""Gives people a role in a project, changes it, takes it away. For owners."""

import re
from typing import Any

from sqlalchemy import func, select

from app.access import Principal, require
from app.db import writing
from app.models import Member, Project, UserAccount
from app.models.identity import ROLES
from app.services.audit import record
from celesta.errors import ConflictError, InputError, NotFoundError, Problem

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,99}\Z")


def set_member(session: Any, principal: Principal, project: Project, user: str, role: str) -> Member:
    """Idempotent. Makes the user's account when it is new; raises `ConflictError` rather than leave no owner."""
    require(principal, "owner", project)
    problems = []
    if not NAME.match(user):
        problems.append(Problem("user", f"{user!r} is no user name"))
    if role not in ROLES:
        problems.append(Problem("role", f"{role!r} is none of {', '.join(ROLES)}"))
    if problems:
        raise InputError(problems)
    with writing(session, taken=f'somebody adds "{user}" in this moment; try again'):
        _queue_up(session, project)
        member = _member(session, project, user)
        if member is None:
            member = Member(project_id=project.id, user=_account(session, user), role=role)
            session.add(member)
        elif member.role != role:
            _keep_an_owner(session, project, member)
            member.role = role
        record(session, principal, "member.set", project, user, role=role)
    return member


def remove_member(session: Any, principal: Principal, project: Project, user: str) -> None:
    """Raises `NotFoundError` for someone who is no member, and `ConflictError` for the last owner."""
    require(principal, "owner", project)
    with writing(session):
        _queue_up(session, project)
        member = _member(session, project, user)
        if member is None:
            raise NotFoundError(f'"{user}" is no member of project "{project.name}"')
        _keep_an_owner(session, project, member)
        session.delete(member)
        record(session, principal, "member.remove", project, user)


def _queue_up(session: Any, project: Project) -> None:
    """One change of a project's members at a time, or two owners could take each other's role away at once."""
    session.execute(select(Project.id).where(Project.id == project.id).with_for_update())


def _member(session: Any, project: Project, user: str) -> Member | None:
    query = select(Member).join(UserAccount).where(Member.project_id == project.id, UserAccount.name == user)
    found: Member | None = session.scalars(query).one_or_none()
    return found


def _account(session: Any, name: str) -> UserAccount:
    found: UserAccount | None = session.scalars(select(UserAccount).where(UserAccount.name == name)).one_or_none()
    return found or UserAccount(name=name)


def _keep_an_owner(session: Any, project: Project, member: Member) -> None:
    others = select(func.count()).where(Member.project_id == project.id, Member.role == "owner", Member.id != member.id)
    if member.role == "owner" and session.scalar(others) == 0:
        raise ConflictError(f'"{member.user.name}" is the last owner of project "{project.name}"; name another first')
