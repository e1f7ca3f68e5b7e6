"""The durable copy of the cache index, from which the one in Redis is rebuilt. Written by the recorder only."""

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base
from app.models.columns import JsonObject, MaybeJson, Moment, ProjectKey


class CacheEntry(Base):
    """`run_id` is no foreign key: an entry outlives the run that made it, as its outputs do."""

    __tablename__ = "cache_entry"
    __table_args__ = (Index(None, "project_id", "task", "created_at"),)

    project_id: Mapped[ProjectKey] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    task: Mapped[str]
    run_id: Mapped[str]
    path: Mapped[str]
    node: Mapped[str]
    token: Mapped[str]
    outputs: Mapped[JsonObject]
    components: Mapped[MaybeJson]
    created_at: Mapped[Moment]
