"""Takes entries out of the cache: by hand, with a preview, or the least recently used of a project above its limit.

First out of the index in Redis, then out of the record: when Redis does not answer nothing has happened yet, and when
the second fails the entries are only missed until the index is filled again. Bytes are freed by the store's garbage
collection, once no run refers to them. Pinned entries stay.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import and_, case, delete, func, select

from app.access import Principal, require
from app.db import writing
from app.models import CacheEntry, Project, Step
from app.models.columns import now
from app.services.audit import record
from app.services.cache_index import ORGANISATION, index_key
from celesta.errors import InputError

Document = dict[str, Any]
AT_ONCE = 1_000
MOST = 100_000
"""Entries of one call; `more` says when there are others."""
MOST_BY_LIMIT = 5_000
"""Entries of a project that one round of the reconciler takes; it has other things to look after."""


@dataclass(frozen=True)
class Wanted:
    """Which entries: those that fit all that is given. Sizes in bytes, ages in seconds since they were computed."""

    task: str | None = None
    run: str | None = None
    older_than_seconds: float | None = None
    larger_than_bytes: int | None = None
    all: bool = False

    def conditions(self, project: Project) -> list[Any]:
        """Raises `InputError` when nothing is given: that would be everything."""
        found = []
        if self.task is not None:
            found.append(CacheEntry.task == self.task)
        if self.run is not None:
            found.append(CacheEntry.run_id == self.run)
        if self.older_than_seconds is not None:
            found.append(CacheEntry.created_at < now() - timedelta(seconds=self.older_than_seconds))
        if self.larger_than_bytes is not None:
            found.append(CacheEntry.bytes > self.larger_than_bytes)
        if not found and not self.all:
            raise InputError("say which entries: by task, run, age or size, or all of them")
        return [CacheEntry.project_id == project.id, *found]


def evict(
    session: Any, redis: Any, principal: Principal, project: Project, wanted: Wanted, *, dry_run: bool = False
) -> Document:
    """What was evicted, or would be. Idempotent."""
    require(principal, "editor", project)
    conditions = wanted.conditions(project)
    pinned = session.scalar(select(func.count()).where(*conditions, CacheEntry.pinned_at.is_not(None)))
    conditions.append(CacheEntry.pinned_at.is_(None))
    by_task = select(CacheEntry.task, func.count(), func.sum(CacheEntry.bytes)).where(*conditions)
    tasks = [
        {"task": task, "entries": number, "bytes": int(size)}
        for task, number, size in session.execute(by_task.group_by(CacheEntry.task).order_by(CacheEntry.task))
    ]
    found = {name: sum(task[name] for task in tasks) for name in ("entries", "bytes")}
    answer = found | {"pinned": pinned, "dry_run": dry_run, "more": found["entries"] > MOST, "tasks": tasks}
    if not dry_run:
        columns = CacheEntry.key, CacheEntry.scope
        rows = session.execute(select(*columns).where(*conditions).order_by(CacheEntry.created_at).limit(MOST)).all()
        _remove(session, redis, project, rows)
        with writing(session):
            asked = {name: value for name, value in vars(wanted).items() if value}
            record(session, principal, "cache.evict", project, project.name, **asked, entries=len(rows))
    return answer


def enforce_limits(session: Any, redis: Any) -> int:
    """Brings projects back to their limits, at most `MOST_BY_LIMIT` entries each. How many were evicted."""
    limited = select(Project.id).where(Project.cache_limit_bytes.is_not(None))
    return sum(
        _enforce(session, redis, session.get(Project, project_id)) for project_id in session.scalars(limited).all()
    )


def _enforce(session: Any, redis: Any, project: Project) -> int:
    held = session.scalar(select(func.sum(CacheEntry.bytes)).where(CacheEntry.project_id == project.id)) or 0
    excess = held - (project.cache_limit_bytes or 0)
    chosen = []
    if excess > 0:
        for key, scope, size in session.execute(_by_use(project).limit(MOST_BY_LIMIT)):
            if excess <= 0:
                break
            chosen.append((key, scope))
            excess -= size
        _remove(session, redis, project, chosen)
    session.rollback()
    return len(chosen)


def _by_use(project: Project) -> Any:
    """The entries that are not pinned and hold something, the one that was used longest ago first."""
    answered = func.max(Step.finished_at)
    used = case((answered > CacheEntry.created_at, answered), else_=CacheEntry.created_at)
    return (
        select(CacheEntry.key, CacheEntry.scope, CacheEntry.bytes)
        .outerjoin(Step, and_(Step.cache_key == CacheEntry.key, Step.state == "cached"))
        .where(CacheEntry.project_id == project.id, CacheEntry.pinned_at.is_(None), CacheEntry.bytes > 0)
        .group_by(CacheEntry.project_id, CacheEntry.key)
        .order_by(used, CacheEntry.key)
    )


def _remove(session: Any, redis: Any, project: Project, entries: Sequence[Any]) -> None:
    """Out of the index and the record, a thousand at a time. What was computed again meanwhile stays recorded."""
    moment = now()
    for start in range(0, len(entries), AT_ONCE):
        part = entries[start : start + AT_ONCE]
        by_space: dict[str, list[str]] = defaultdict(list)
        for key, scope in part:
            by_space[ORGANISATION if scope == "organisation" else project.name].append(key)
        for space, keys in by_space.items():
            redis.hdel(index_key(space), *keys)
        with writing(session):
            keys = [key for key, _ in part]
            old = delete(CacheEntry).where(CacheEntry.project_id == project.id, CacheEntry.key.in_(keys))
            session.execute(old.where(CacheEntry.created_at <= moment, CacheEntry.pinned_at.is_(None)))
