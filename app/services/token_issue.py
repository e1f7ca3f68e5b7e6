"""Makes bearer tokens. The secret is told once, here; the database keeps its digest."""

import secrets
from datetime import datetime
from typing import Any

from sqlalchemy import select

from app.access import LEVEL, Principal, require, token_digest
from app.db import writing
from app.models import Member, Project, Token, UserAccount
from app.services.audit import record
from celesta.errors import AccessError, InputError, Problem

SHOWN_CHARACTERS = 12


def issue_token(
    session: Any,
    principal: Principal,
    project: Project,
    user: str,
    role: str,
    name: str = "",
    *,
    all_projects: bool = False,
    expires_at: datetime | None = None,
) -> tuple[Token, str]:
    """The token's row and its secret.

    Owners make tokens for the members of their project; `all_projects` (the token acts for the user wherever the user
    is a member) is for the user alone, and for the operator.
    """
    require(principal, "owner", project)
    if principal.restricted:
        raise AccessError("this token cannot make tokens; use one for all of the user's projects, with role owner")
    if all_projects and principal.everywhere is None and principal.name != user:
        raise AccessError(f'only "{user}" may make a token for all projects of "{user}"')
    account = _account_of_member(session, project, user, role)
    secret = f"cel_{secrets.token_hex(32)}"
    with writing(session):
        token = Token(
            user_id=account.id,
            project_id=None if all_projects else project.id,
            role=role,
            name=name,
            prefix=secret[:SHOWN_CHARACTERS],
            digest=token_digest(secret),
            expires_at=expires_at,
        )
        session.add(token)
        record(session, principal, "token.issue", project, token.prefix, user=user, role=role, name=name)
    return token, secret


def _account_of_member(session: Any, project: Project, user: str, role: str) -> UserAccount:
    query = select(Member).join(UserAccount).where(Member.project_id == project.id, UserAccount.name == user)
    member: Member | None = session.scalars(query).one_or_none()
    problems = []
    if member is None:
        problems.append(Problem("user", f'"{user}" is no member of project "{project.name}"; add the member first'))
    if role not in LEVEL:
        problems.append(Problem("role", f"{role!r} is none of {', '.join(LEVEL)}"))
    if problems or member is None:
        raise InputError(problems)
    return member.user
