"""The durable copy of the cache index, from which the one in Redis is rebuilt.

Written by the recorder; the `cache_*` services pin entries and evict them.
"""

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base
from app.models.columns import JsonObject, MaybeJson, MaybeMoment, Moment, ProjectKey, Size, one_of

SCOPES = ("project", "organisation")


class CacheEntry(Base):
    """`run_id` is no foreign key: an entry outlives the run that made it, as its outputs do."""

    __tablename__ = "cache_entry"
    __table_args__ = (
        one_of("scope", SCOPES, "scope"),
        Index(None, "project_id", "task", "created_at"),
        Index(None, "run_id", "node"),
        Index(None, "scope", "task", "created_at"),
    )

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
    scope: Mapped[str] = mapped_column(default="project")
    bytes: Mapped[Size] = mapped_column(default=0)
    """The sizes of the outputs; a value that several entries hold counts in each."""
    pinned_at: Mapped[MaybeMoment]
    """Not to be evicted, by limit or by hand, until it is unpinned."""
    pinned_by: Mapped[str | None]
