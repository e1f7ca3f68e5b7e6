"""Ends a token. It stays in the table, so that the audit's names still mean something."""

from typing import Any

from sqlalchemy import or_, select

from app.access import Principal, require
from app.db import writing
from app.models import Member, Project, Token
from app.models.columns import now
from app.services.audit import record
from celesta.errors import NotFoundError


def revoke_token(session: Any, principal: Principal, project: Project, token_id: int) -> Token:
    """For owners: a token of the project, or one of their own for all projects. Idempotent."""
    require(principal, "owner", project)
    with writing(session):
        own = Token.project_id.is_(None) & (Token.user_id == principal.user_id)
        if principal.everywhere:
            members = select(Member.user_id).where(Member.project_id == project.id)
            own = Token.project_id.is_(None) & Token.user_id.in_(members)
        query = select(Token).where(Token.id == token_id, or_(Token.project_id == project.id, own))
        token: Token | None = session.scalars(query).one_or_none()
        if token is None:
            raise NotFoundError(f'project "{project.name}" has no token {token_id}')
        if token.revoked_at is None:
            token.revoked_at = now()
            record(session, principal, "token.revoke", project, token.prefix)
    return token
