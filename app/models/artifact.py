"""What steps made and what they used: the two ends of lineage, joined by digest. Written by the recorder only."""

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base
from app.models.columns import BigKey, JsonObject, Moment, ProjectKey, RunKey, Size, some_of


class Artifact(Base):
    """One output of one settled step; `digest` identifies the value and `blob` the stored bytes."""

    __tablename__ = "artifact"
    __table_args__ = (
        UniqueConstraint("run_id", "node", "name"),
        Index(None, "project_id", "digest"),
        some_of("ix_artifact_stored", "blob", where="blob <> digest"),
        some_of("ix_artifact_container", "project_id", "id", where="type IN ('directory', 'list')"),
    )

    id: Mapped[BigKey]
    run_id: Mapped[RunKey]
    node: Mapped[str]
    name: Mapped[str]
    project_id: Mapped[ProjectKey]
    path: Mapped[str]
    type: Mapped[str]
    digest: Mapped[str]
    blob: Mapped[str | None]
    size: Mapped[Size]
    ref: Mapped[JsonObject]
    created_at: Mapped[Moment]


class Lineage(Base):
    """One input of one settled step; its producers are the artifacts of the same digest."""

    __tablename__ = "lineage"
    __table_args__ = (Index(None, "project_id", "digest"),)

    run_id: Mapped[RunKey] = mapped_column(primary_key=True)
    node: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[ProjectKey]
    digest: Mapped[str]
