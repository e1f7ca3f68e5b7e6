"""The index of the cache in Redis, as the database knows it: what its hashes are called, and what they hold.

The engine reads and writes the hashes; when Redis has lost them the reconciler fills them again from here. Entries are
shared by the runs of a project, or by those of all projects where their task says so.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import select, tuple_

from app.db import db
from app.models import CacheEntry, Project

PAGE_ROWS = 1_000
ORGANISATION = "*"
"""The space of entries that all projects share; no project can have this name."""


def index_key(space: str) -> str:
    """The hash of a project, or of `ORGANISATION`."""
    return f"celesta:cache:{space}"


def spaces() -> list[str]:
    """The projects that have entries of their own, and `ORGANISATION`."""
    entries = select(CacheEntry.key).where(CacheEntry.project_id == Project.id, CacheEntry.scope == "project")
    found = list(db.session.scalars(select(Project.name).where(entries.exists())))
    db.session.rollback()
    return [*found, ORGANISATION]


def entries(space: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Key and value of each entry, as the index holds them; of a key that two projects have, the newer comes last.

    Reads in pages; no transaction stays open.
    """
    source = CacheEntry.run_id, CacheEntry.path, CacheEntry.node, CacheEntry.token
    columns = CacheEntry.key, *source, CacheEntry.outputs, CacheEntry.created_at, Project.name
    query = select(*columns, CacheEntry.project_id).join(Project, CacheEntry.project_id == Project.id)
    if space == ORGANISATION:
        query = query.where(CacheEntry.scope == "organisation")
    else:
        query = query.where(Project.name == space, CacheEntry.scope == "project")
    order = CacheEntry.key, CacheEntry.created_at, CacheEntry.project_id
    last: Any = None
    while True:
        page = query if last is None else query.where(tuple_(*order) > last)
        rows = db.session.execute(page.order_by(*order).limit(PAGE_ROWS)).all()
        db.session.rollback()
        for key, run, path, node, token, outputs, at, project, _ in rows:
            value = {"run": run, "path": path, "node": node, "token": token, "outputs": outputs}
            value |= {"project": project} if space == ORGANISATION else {}
            yield key, value | {"at_ms": int(at.timestamp() * 1000)}
        if len(rows) < PAGE_ROWS:
            return
        last = rows[-1].key, rows[-1].created_at, rows[-1].project_id
