"""What a project lets another one use. Written by `app.services.share_set`."""

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.db import Base
from app.models.columns import Moment, ProjectKey, now
from app.models.identity import Project
from app.models.workflow import Workflow


class Share(Base):
    """Without a workflow it is all of them, those to come included."""

    __tablename__ = "share"
    __table_args__ = (Index(None, "project_id", "with_id"), Index(None, "with_id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[ProjectKey]
    workflow_id: Mapped[int | None] = mapped_column(ForeignKey("workflow.id", ondelete="CASCADE"))
    with_id: Mapped[ProjectKey]
    created_by: Mapped[str]
    created_at: Mapped[Moment] = mapped_column(default=now)
    project: Mapped[Project] = relationship(foreign_keys="Share.project_id")
    workflow: Mapped[Workflow | None] = relationship()
    receiver: Mapped[Project] = relationship(foreign_keys="Share.with_id")
