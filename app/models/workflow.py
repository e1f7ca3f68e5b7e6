"""Workflows, their immutable versions, and which of them was active when. Written by the `version_*` services."""

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db import Base
from app.models.columns import BigKey, JsonObject, MaybeJson, Moment, ProjectKey, now, one_of
from app.models.identity import Project

KINDS = ("workflow", "task")
ACTIONS = ("register", "activate", "rollback")


class Workflow(Base):
    """A name in a project; `kind` is `task` where a single task was registered as a workflow of one step."""

    __tablename__ = "workflow"
    __table_args__ = (UniqueConstraint("project_id", "name"), one_of("kind", KINDS, "kind"))

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[ProjectKey]
    name: Mapped[str]
    kind: Mapped[str] = mapped_column(default="workflow")
    active_version_id: Mapped[int | None] = mapped_column(ForeignKey("version.id", use_alter=True))
    created_at: Mapped[Moment] = mapped_column(default=now)
    project: Mapped[Project] = relationship()
    active_version: Mapped["Version | None"] = relationship(foreign_keys=[active_version_id], post_update=True)

    def name_in(self, project_id: int) -> str:
        """What a project calls it: one that another project shares is `project/name`."""
        return self.name if self.project_id == project_id else f"{self.project.name}/{self.name}"


class Version(Base):
    """A spec, its plan and its bundle, known in the project by the digest of the spec."""

    __tablename__ = "version"
    __table_args__ = (
        UniqueConstraint("project_id", "digest"),
        Index(None, "workflow_id", "created_at"),
        Index(None, "workflow_id", "label", unique=True),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[ProjectKey]
    workflow_id: Mapped[int] = mapped_column(ForeignKey("workflow.id", ondelete="CASCADE"))
    digest: Mapped[str]
    label: Mapped[str | None]
    spec_blob: Mapped[str]
    plan_blob: Mapped[str]
    bundle: Mapped[str | None]
    interface: Mapped[JsonObject]
    step_count: Mapped[int]
    git: Mapped[MaybeJson]
    environment: Mapped[MaybeJson]
    """Python, platform, `lock` (the digest of all packages with their versions) and images; the spec has the rest."""
    created_by: Mapped[str]
    created_at: Mapped[Moment] = mapped_column(default=now)
    workflow: Mapped[Workflow] = relationship(foreign_keys=[workflow_id])


class Activation(Base):
    """That a version became the active one. `before_id` is the activation that a rollback of this one goes back to:
    a chain, so that two rollbacks in a row go back twice and not to and fro."""

    __tablename__ = "activation"
    __table_args__ = (Index(None, "workflow_id", "id"), one_of("action", ACTIONS, "action"))

    id: Mapped[BigKey]
    workflow_id: Mapped[int] = mapped_column(ForeignKey("workflow.id", ondelete="CASCADE"))
    version_id: Mapped[int] = mapped_column(ForeignKey("version.id", ondelete="CASCADE"))
    before_id: Mapped[int | None] = mapped_column(ForeignKey("activation.id", ondelete="SET NULL"))
    action: Mapped[str]
    by: Mapped[str]
    at: Mapped[Moment] = mapped_column(default=now)
    version: Mapped[Version] = relationship()
