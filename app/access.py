"""Who is calling, and what that principal may do.

`app.api` and `app.web` call `authenticate(request)` once a request and `project_for` for the project in the path;
services take the `Principal`. Owns roles and their order. Refuses a caller it cannot tell with 401 (`unauthorized`),
one whose role is too low with 403 (`forbidden`), and answers 404 for a project that the caller is not a member of, so
that not even names leak.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from flask import Request
from sqlalchemy import select

from app import sessions
from app.config import Config
from app.db import writing
from app.loopback import is_same_user, user_name
from app.models import Member, Project, Token
from app.models.columns import now
from app.models.identity import ROLES
from celesta.errors import AccessError, NotFoundError
from celesta.hashing import digest_of

LEVEL = {role: level for level, role in enumerate(ROLES)}
TOKEN = re.compile(r"cel_[0-9a-f]{64}\Z")
LAST_USE_RESOLUTION = timedelta(minutes=10)


class UnauthorizedError(AccessError):
    """The caller is not known: no token, a wrong one, or one that expired or was revoked."""

    code = "unauthorized"


@dataclass(frozen=True)
class Principal:
    """Who acts; `name` is what versions, runs and the audit record."""

    name: str
    user_id: int | None = None
    everywhere: str | None = None
    """Role in every project: the operator of this server."""
    roles: Mapping[int, str] = field(default_factory=dict)
    """Role by project id, for everyone else."""
    restricted: bool = False
    """Speaks through a token of one project, or of less than its user's role; cannot make tokens or projects."""
    token: sessions.Named | None = None
    """The token that it speaks through."""

    @classmethod
    def operator(cls, name: str) -> "Principal":
        """Owner of every project: the operating-system user of this server, or a process of ours."""
        return cls(name=name, everywhere="owner")

    def role_in(self, project_id: int) -> str | None:
        return self.everywhere or self.roles.get(project_id)

    def may(self, role: str, project_id: int) -> bool:
        held = self.role_in(project_id)
        return held is not None and LEVEL[held] >= LEVEL[role]


def require(principal: Principal, role: str, project: Project) -> None:
    """Raises unless the principal holds `role`, or a higher one, in the project."""
    if principal.role_in(project.id) is None:
        raise _no_project(project.name)
    if not principal.may(role, project.id):
        held = principal.role_in(project.id)
        raise AccessError(f'"{principal.name}" is {held} of project "{project.name}"; this needs {role}')


def project_for(session: Any, principal: Principal, name: str, role: str = "viewer") -> Project:
    """The project of this name, when the principal holds `role` in it."""
    project: Project | None = session.scalars(select(Project).where(Project.name == name)).one_or_none()
    if project is None:
        raise _no_project(name)
    require(principal, role, project)
    return project


def authenticate(request: Request, session: Any, config: Config) -> Principal:
    """The principal of a request: its bearer token's user, who signed in with this browser, or the operating-system
    user on loopback."""
    header = request.headers.get("Authorization")
    if header is not None:
        scheme, _, secret = header.partition(" ")
        if scheme.lower() != "bearer":
            raise UnauthorizedError("send the token as: Authorization: Bearer cel_…")
        return principal_of_token(session, secret.strip())
    signed_in = _signed_in(request, session)
    if signed_in:
        return signed_in
    if config.loopback_auth and is_same_user(request):
        return Principal.operator(user_name())
    raise UnauthorizedError("not signed in; send a token as: Authorization: Bearer cel_…")


def principal_of_token(session: Any, secret: str) -> Principal:
    """The user of a token, with the user's roles cut down to the token's; raises `UnauthorizedError`."""
    token: Token | None = None
    if TOKEN.match(secret):
        token = session.scalars(select(Token).where(Token.digest == token_digest(secret))).one_or_none()
    if token is None or _is_over(token):
        raise UnauthorizedError("the token is not known, expired, or was revoked; ask an owner of the project for one")
    return _speaker(session, token)


def _signed_in(request: Request, session: Any) -> Principal | None:
    """The user of the token that the browser's cookie names; a token that ended takes the session with it."""
    named = sessions.named()
    if named is None:
        return None
    token: Token | None = session.scalars(select(Token).where(Token.id == named.id)).one_or_none()
    if token is None or token.prefix != named.prefix or _is_over(token):
        sessions.end()
        return None
    if request.method not in sessions.SAFE_METHODS and not sessions.is_own_page(request):
        raise AccessError("this was not sent by a page of this server, or the page is too old; load it again")
    return _speaker(session, token)


def _is_over(token: Token) -> bool:
    return token.revoked_at is not None or (token.expires_at is not None and token.expires_at <= now())


def _speaker(session: Any, token: Token) -> Principal:
    members = session.scalars(select(Member).where(Member.user_id == token.user_id)).all()
    roles = {
        member.project_id: min(member.role, token.role, key=LEVEL.__getitem__)
        for member in members
        if token.project_id in (None, member.project_id)
    }
    principal = Principal(
        name=token.user.name,
        user_id=token.user_id,
        roles=roles,
        restricted=token.project_id is not None or token.role != "owner",
        token=sessions.Named(token.id, token.prefix),
    )
    moment = now()
    if token.last_used_at is None or moment - token.last_used_at > LAST_USE_RESOLUTION:
        with writing(session):
            token.last_used_at = moment
    return principal


def token_digest(secret: str) -> str:
    """What is kept of a token. It has 256 random bits, so a plain hash is enough."""
    return digest_of(secret.encode())


def _no_project(name: str) -> NotFoundError:
    return NotFoundError(f'there is no project "{name}", or you are not a member of it')
