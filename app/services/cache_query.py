"""What the cache of a project holds and what it has saved. Reads the record only, never Redis. Writes nothing."""

from typing import Any

from sqlalchemy import and_, func, select
from sqlalchemy.orm import aliased

from app.models import CacheEntry, Project, Run, Step
from app.services.moments import iso, seconds_between
from app.services.session import Session

Document = dict[str, Any]


def stats(session: Session, project: Project) -> Document:
    """Counts over the whole project, and for each task. A miss is a step that had a key and was computed."""
    tasks: dict[str, Document] = {}
    for task, entries, size in session.execute(_entries(project)):
        _of(tasks, task).update(entries=entries, bytes=int(size or 0))
    for task, state, number in session.execute(_uses(project)):
        _of(tasks, task)["hits" if state == "cached" else "misses"] += number
    for task, started_at, finished_at, hits in session.execute(_sources(project)):
        _of(tasks, task)["seconds_saved"] += (seconds_between(started_at, finished_at) or 0.0) * hits
    total = _of({}, "")
    for document in tasks.values():
        for name in ("entries", "bytes", "hits", "misses", "seconds_saved"):
            total[name] += document[name]
    del total["task"]
    finished = [_rated(document) for _, document in sorted(tasks.items())]
    pinned = select(func.count()).where(CacheEntry.project_id == project.id, CacheEntry.pinned_at.is_not(None))
    kept = {"pinned": session.scalar(pinned), "limit_bytes": project.cache_limit_bytes}
    return _rated(total) | kept | {"tasks": finished}


def _of(tasks: dict[str, Document], task: str) -> Document:
    return tasks.setdefault(
        task, {"task": task, "entries": 0, "bytes": 0, "hits": 0, "misses": 0, "seconds_saved": 0.0}
    )


def _rated(document: Document) -> Document:
    asked = document["hits"] + document["misses"]
    return document | {
        "hit_rate": round(document["hits"] / asked, 4) if asked else None,
        "seconds_saved": round(document["seconds_saved"], 3),
    }


def _entries(project: Project) -> Any:
    """A value that several entries hold counts in each, as it does for the project's limit."""
    counted = select(CacheEntry.task, func.count(), func.sum(CacheEntry.bytes))
    return counted.where(CacheEntry.project_id == project.id).group_by(CacheEntry.task)


def _uses(project: Project) -> Any:
    return (
        select(Step.task, Step.state, func.count())
        .join(Run, Run.id == Step.run_id)
        .where(
            Run.project_id == project.id,
            Step.cache_key.is_not(None),
            Step.state.in_(("cached", "succeeded", "failed")),
        )
        .group_by(Step.task, Step.state)
    )


def _sources(project: Project) -> Any:
    """Each step that answered others, with how often it did."""
    hit, source = aliased(Step), aliased(Step)
    return (
        select(source.task, source.started_at, source.finished_at, func.count())
        .select_from(hit)
        .join(Run, Run.id == hit.run_id)
        .join(CacheEntry, and_(CacheEntry.project_id == Run.project_id, CacheEntry.key == hit.cache_key))
        .join(source, and_(source.run_id == CacheEntry.run_id, source.node == CacheEntry.node))
        .where(Run.project_id == project.id, hit.state == "cached")
        .group_by(source.run_id, source.node, source.task, source.started_at, source.finished_at)
    )


def entry_document(entry: CacheEntry) -> Document:
    return {
        "key": entry.key,
        "task": entry.task,
        "run": entry.run_id,
        "path": entry.path,
        "bytes": entry.bytes,
        "created_at": iso(entry.created_at),
        "pinned_by": entry.pinned_by,
    }
