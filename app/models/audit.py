"""What was done by whom. Written by `app.services.audit` inside the transaction of each writing verb."""

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base
from app.models.columns import BigKey, JsonObject, Moment, now


class Audit(Base):
    __tablename__ = "audit"
    __table_args__ = (Index(None, "project_id", "at"),)

    id: Mapped[BigKey]
    at: Mapped[Moment] = mapped_column(default=now)
    principal: Mapped[str]
    project_id: Mapped[int | None] = mapped_column(ForeignKey("project.id", ondelete="SET NULL"))
    action: Mapped[str]
    object: Mapped[str]
    detail: Mapped[JsonObject] = mapped_column(default=dict)
