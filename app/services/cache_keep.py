"""What a project keeps in its cache: entries that are pinned, and the limit above which others are evicted."""

from typing import Any

from sqlalchemy import select

from app.access import Principal, require
from app.db import writing
from app.models import CacheEntry, Project, Step
from app.models.columns import now
from app.services.audit import record
from celesta.errors import InputError, NotFoundError, Problem


def pin(session: Any, principal: Principal, project: Project, step: Step, pinned: bool) -> CacheEntry:
    """Pins the entry that a step made or was answered by, or lets go of it. Idempotent. Raises `NotFoundError`."""
    require(principal, "editor", project)
    query = select(CacheEntry).where(CacheEntry.project_id == project.id, CacheEntry.key == step.cache_key)
    with writing(session):
        entry: CacheEntry | None = session.scalars(query.with_for_update()).one_or_none()
        if entry is None:
            raise NotFoundError(
                f'{step.path} of run {step.run_id} has no entry in the cache of project "{project.name}"; '
                f"see why: celesta cache explain {step.run_id} {step.path}"
            )
        entry.pinned_at, entry.pinned_by = (now(), principal.name) if pinned else (None, None)
        record(session, principal, "cache.pin" if pinned else "cache.unpin", project, entry.key[:12], task=entry.task)
    return entry


def set_limit(session: Any, principal: Principal, project: Project, limit_bytes: int | None) -> None:
    """The bytes that the entries of a project may hold in all; None: as many as there are. Eviction follows soon."""
    require(principal, "owner", project)
    if limit_bytes is not None and limit_bytes < 0:
        raise InputError([Problem("bytes", "is less than 0; null takes the limit away")])
    with writing(session):
        project = session.get(Project, project.id)
        project.cache_limit_bytes = limit_bytes
        record(session, principal, "cache.limit", project, project.name, bytes=limit_bytes)
