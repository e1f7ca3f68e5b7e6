"""One execution of a version. Made by `app.services.run_launch`; after its start only the recorder writes it."""

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db import Base
from app.models.columns import JsonObject, MaybeJson, MaybeMoment, Moment, ProjectKey, RunKey, now, one_of
from app.models.identity import Project
from app.models.workflow import Version, Workflow

RUN_TERMINAL = ("succeeded", "failed", "cancelled")
RUN_STATUSES = ("queued", "running", *RUN_TERMINAL)
ORIGIN_KINDS = ("recover", "rerun", "reproduction", "import")


class Run(Base):
    """`inputs`, `outputs` hold value references; the six counts are disjoint and final once `recorded_at` is set."""

    __tablename__ = "run"
    __table_args__ = (
        UniqueConstraint("project_id", "idempotency_key"),
        one_of("status", RUN_STATUSES, "status"),
        Index(None, "project_id", "created_at", "id"),
        Index(None, "project_id", "status", "created_at", "id"),
        Index(None, "workflow_id", "created_at", "id"),
        Index("ix_run_unfinished", "status", "published_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[ProjectKey]
    workflow_id: Mapped[int] = mapped_column(ForeignKey("workflow.id", ondelete="CASCADE"))
    version_id: Mapped[int] = mapped_column(ForeignKey("version.id", ondelete="CASCADE"), index=True)
    status: Mapped[str] = mapped_column(default="queued")
    inputs: Mapped[JsonObject]
    outputs: Mapped[MaybeJson]
    options: Mapped[JsonObject] = mapped_column(default=dict)
    epoch: Mapped[int] = mapped_column(default=1)
    adopted: Mapped[JsonObject] = mapped_column(default=dict)
    """Token by node: the results that rebuilds took over from earlier epochs."""
    total: Mapped[int] = mapped_column(default=0)
    succeeded: Mapped[int] = mapped_column(default=0)
    cached: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)
    skipped: Mapped[int] = mapped_column(default=0)
    cancelled: Mapped[int] = mapped_column(default=0)
    error: Mapped[MaybeJson]
    idempotency_key: Mapped[str | None]
    schedule_id: Mapped[int | None] = mapped_column(ForeignKey("schedule.id", ondelete="SET NULL"), index=True)
    origin_run_id: Mapped[str | None] = mapped_column(index=True)
    """The run that this one goes back to. No foreign key: that of an imported run is in another database."""
    origin_kind: Mapped[str | None]
    """Why it does: one of `ORIGIN_KINDS`."""
    created_by: Mapped[str]
    created_at: Mapped[Moment] = mapped_column(default=now)
    published_at: Mapped[MaybeMoment]
    cancel_requested_at: Mapped[MaybeMoment]
    paused_at: Mapped[MaybeMoment]
    """Set while somebody wants no further step to start."""
    started_at: Mapped[MaybeMoment]
    finished_at: Mapped[MaybeMoment]
    recorded_at: Mapped[MaybeMoment]
    project: Mapped[Project] = relationship()
    workflow: Mapped[Workflow] = relationship()
    version: Mapped[Version] = relationship()

    @property
    def workflow_name(self) -> str:
        return self.workflow.name_in(self.project_id)


class RunInput(Base):
    """One input of a run, where its value says something of where it came from; what lineage across runs goes by."""

    __tablename__ = "run_input"
    __table_args__ = (Index(None, "digest"),)

    run_id: Mapped[RunKey] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    project_id: Mapped[ProjectKey]
    digest: Mapped[str]
