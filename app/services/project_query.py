"""Reads projects, members and tokens for the REST API and the dashboard. Writes nothing."""

from collections.abc import Sequence

from sqlalchemy import Select, select
from sqlalchemy.orm import joinedload

from app.access import Principal
from app.models import Member, Project, Token, UserAccount
from app.services.paging import Page, decode, page_of
from app.services.session import Session


def _visible(principal: Principal) -> Select[Project]:
    query = select(Project).order_by(Project.name)
    return query if principal.everywhere else query.where(Project.id.in_(principal.roles))


def visible(session: Session, principal: Principal) -> Sequence[Project]:
    """The projects that the principal may look at, by name."""
    return session.scalars(_visible(principal)).all()


def page(session: Session, principal: Principal, *, cursor: str = "", limit: int = 50) -> Page[Project]:
    query = _visible(principal).limit(limit + 1)
    if cursor:
        query = query.where(Project.name > decode(cursor, str)[0])
    return page_of(session.scalars(query).all(), limit, lambda project: (project.name,))


def members(session: Session, project: Project) -> Sequence[Member]:
    query = select(Member).join(Member.user).where(Member.project_id == project.id)
    return session.scalars(query.options(joinedload(Member.user)).order_by(UserAccount.name)).all()


def tokens(session: Session, project: Project, principal: Principal) -> Sequence[Token]:
    """Those of the project, and the caller's own for all projects: what the caller may revoke."""
    own = Token.project_id.is_(None) & (Token.user_id == principal.user_id)
    if principal.everywhere:
        members_of = select(Member.user_id).where(Member.project_id == project.id)
        own = Token.project_id.is_(None) & Token.user_id.in_(members_of)
    query = select(Token).where((Token.project_id == project.id) | own)
    return session.scalars(query.options(joinedload(Token.user)).order_by(Token.id)).all()
