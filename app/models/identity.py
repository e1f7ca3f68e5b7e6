"""Who may do what: projects, users, members, tokens. Written by the `project_*`, `member_*`, `token_*` services."""

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db import Base
from app.models.columns import Big, JsonObject, MaybeMoment, Moment, ProjectKey, now, one_of

ROLES = ("viewer", "editor", "owner")


class Project(Base):
    __tablename__ = "project"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str] = mapped_column(default="")
    cache_limit_bytes: Mapped[int | None] = mapped_column(Big)
    """Above it the entries that were used least recently are evicted; null: no limit."""
    limits: Mapped[JsonObject] = mapped_column(default=dict, server_default="{}")
    """How many steps may use each named limit at once, over all runs of the project."""
    weight: Mapped[int] = mapped_column(default=1, server_default="1")
    """The project's share of the workers while other projects wait too."""
    created_at: Mapped[Moment] = mapped_column(default=now)


class UserAccount(Base):
    __tablename__ = "user_account"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[Moment] = mapped_column(default=now)


class Member(Base):
    __tablename__ = "member"
    __table_args__ = (UniqueConstraint("project_id", "user_id"), one_of("role", ROLES, "role"))

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[ProjectKey]
    user_id: Mapped[int] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"), index=True)
    role: Mapped[str]
    user: Mapped[UserAccount] = relationship()
    project: Mapped[Project] = relationship()


class Token(Base):
    """A bearer token; only the SHA-256 of it is kept, and the prefix by which people know it."""

    __tablename__ = "token"
    __table_args__ = (one_of("role", ROLES, "role"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"), index=True)
    project_id: Mapped[int | None] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"), index=True)
    role: Mapped[str]
    name: Mapped[str] = mapped_column(default="")
    prefix: Mapped[str]
    digest: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[Moment] = mapped_column(default=now)
    last_used_at: Mapped[MaybeMoment]
    expires_at: Mapped[MaybeMoment]
    revoked_at: Mapped[MaybeMoment]
    user: Mapped[UserAccount] = relationship()
    project: Mapped[Project | None] = relationship()
