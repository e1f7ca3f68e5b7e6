"""Named models, their versions, and the aliases that point to them. Written by the `model_*` and `alias_*` services."""

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db import Base
from app.models.columns import BigKey, JsonObject, MaybeMoment, Moment, ProjectKey, now, one_of

MOVE_STATES = ("pending", "done", "refused")
MOVE_ACTIONS = ("move", "rollback")


class Model(Base):
    """A series of artifacts under one name."""

    __tablename__ = "model"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[ProjectKey]
    name: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    created_by: Mapped[str]
    created_at: Mapped[Moment] = mapped_column(default=now)


class ModelVersion(Base):
    """One artifact of the series, under a number that counts from 1. `ref` is its own copy of the artifact's reference:
    it keeps the value in the store whatever becomes of the run."""

    __tablename__ = "model_version"
    __table_args__ = (UniqueConstraint("model_id", "number"), Index(None, "digest"))

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("model.id", ondelete="CASCADE"))
    number: Mapped[int]
    artifact_id: Mapped[int | None] = mapped_column(ForeignKey("artifact.id", ondelete="SET NULL"), index=True)
    run_id: Mapped[str]
    path: Mapped[str]
    output: Mapped[str]
    digest: Mapped[str]
    ref: Mapped[JsonObject]
    metrics: Mapped[JsonObject]
    notes: Mapped[str] = mapped_column(default="")
    created_by: Mapped[str]
    created_at: Mapped[Moment] = mapped_column(default=now)
    model: Mapped[Model] = relationship()


class AliasMove(Base):
    """That an alias was moved, or is asked to be. The newest that is done says where it points.

    `before_id` is the move that a rollback of this one goes back to: a chain, so that two rollbacks in a row go back
    twice and not to and fro.
    """

    __tablename__ = "alias_move"
    __table_args__ = (
        Index(None, "model_id", "alias", "id"),
        one_of("state", MOVE_STATES, "state"),
        one_of("action", MOVE_ACTIONS, "action"),
    )

    id: Mapped[BigKey]
    model_id: Mapped[int] = mapped_column(ForeignKey("model.id", ondelete="CASCADE"))
    alias: Mapped[str]
    version_id: Mapped[int] = mapped_column(ForeignKey("model_version.id", ondelete="CASCADE"))
    before_id: Mapped[int | None] = mapped_column(ForeignKey("alias_move.id", ondelete="SET NULL"))
    action: Mapped[str]
    state: Mapped[str]
    note: Mapped[str] = mapped_column(default="")
    asked_by: Mapped[str]
    asked_at: Mapped[Moment] = mapped_column(default=now)
    decided_by: Mapped[str | None]
    decided_at: Mapped[MaybeMoment]
    version: Mapped[ModelVersion] = relationship()
    model: Mapped[Model] = relationship()


class ModelAlias(Base):
    """Where an alias points now."""

    __tablename__ = "model_alias"

    model_id: Mapped[int] = mapped_column(ForeignKey("model.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    move_id: Mapped[int] = mapped_column(ForeignKey("alias_move.id", ondelete="CASCADE"))
    move: Mapped[AliasMove] = relationship()


class GuardedAlias(Base):
    """An alias that moves only when an owner of the project approves, in every model."""

    __tablename__ = "guarded_alias"

    project_id: Mapped[ProjectKey] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
