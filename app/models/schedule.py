"""Cron schedules and their fires. Schedules are written by the `schedule_*` services, fires by beat."""

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db import Base
from app.models.columns import JsonObject, MaybeMoment, Moment, ProjectKey, now
from app.models.identity import Project
from app.models.workflow import Version, Workflow


class Schedule(Base):
    __tablename__ = "schedule"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[ProjectKey]
    name: Mapped[str]
    workflow_id: Mapped[int] = mapped_column(ForeignKey("workflow.id", ondelete="CASCADE"))
    version_id: Mapped[int | None] = mapped_column(ForeignKey("version.id", ondelete="CASCADE"))
    cron: Mapped[str]
    timezone: Mapped[str] = mapped_column(default="UTC")
    inputs: Mapped[JsonObject] = mapped_column(default=dict)
    paused: Mapped[bool] = mapped_column(default=False)
    created_by: Mapped[str]
    created_at: Mapped[Moment] = mapped_column(default=now)
    last_fire_at: Mapped[MaybeMoment]
    project: Mapped[Project] = relationship()
    workflow: Mapped[Workflow] = relationship()
    version: Mapped[Version | None] = relationship()

    @property
    def workflow_name(self) -> str:
        return self.workflow.name_in(self.project_id)


class ScheduleFire(Base):
    """That a schedule fired for one moment; the key is what makes two beats fire once."""

    __tablename__ = "schedule_fire"

    schedule_id: Mapped[int] = mapped_column(ForeignKey("schedule.id", ondelete="CASCADE"), primary_key=True)
    fire_at: Mapped[Moment] = mapped_column(primary_key=True)
    run_id: Mapped[str | None] = mapped_column(ForeignKey("run.id", ondelete="SET NULL"), index=True)
    error: Mapped[str | None]
    """Why no run came of it: the workflow does not take these inputs any more, for example."""
