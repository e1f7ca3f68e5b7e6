"""The durable cache entries of a project, from which the engine rebuilds its index when Redis has lost it."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import select

from app.db import db
from app.models import CacheEntry, Project

PAGE_ROWS = 1_000


def projects() -> list[str]:
    """The projects that have entries."""
    query = select(Project.name).where(select(CacheEntry.key).where(CacheEntry.project_id == Project.id).exists())
    found = list(db.session.scalars(query))
    db.session.rollback()
    return found


def entries(project: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Key and value of each entry, as the index in Redis holds them. Reads in pages; no transaction stays open."""
    source = CacheEntry.run_id, CacheEntry.path, CacheEntry.node, CacheEntry.token
    columns = CacheEntry.key, *source, CacheEntry.outputs, CacheEntry.created_at
    query = select(*columns).join(Project, CacheEntry.project_id == Project.id).where(Project.name == project)
    last = ""
    while True:
        rows = db.session.execute(query.where(CacheEntry.key > last).order_by(CacheEntry.key).limit(PAGE_ROWS)).all()
        db.session.rollback()
        for key, run, path, node, token, outputs, at in rows:
            value = {"run": run, "path": path, "node": node, "token": token, "outputs": outputs}
            yield key, value | {"at_ms": int(at.timestamp() * 1000)}
        if len(rows) < PAGE_ROWS:
            return
        last = rows[-1].key
