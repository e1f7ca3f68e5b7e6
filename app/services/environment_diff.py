"""In which environments steps ran, and which packages differ between two.

An environment is known by the digest of its lock (`celesta.environment`), a small document in the store. Called by
whatever tells of runs, of two of them, or of two cache keys. Writes nothing.
"""

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import func, select

from app.models import Run, Step
from app.services.session import Session
from celesta.errors import StoreError
from celesta.store import Store
from celesta.store.base import blob_key, is_digest

MOST_BYTES = 1 << 20
"""Of a lock: an environment has hundreds of packages, not a million."""
Document = dict[str, Any]


def of_run(session: Session, run: Run, store: Store) -> list[Document]:
    """The environments of a run's own steps, that of most steps first: `{"digest", "steps", "python", ..}`."""
    query = select(Step.environment, func.count()).where(Step.run_id == run.id, Step.environment.is_not(None))
    query = query.group_by(Step.environment).order_by(func.count().desc(), Step.environment)
    unknown: Document = {"python": None, "platform": None, "packages": {}}
    return [
        {"digest": digest, "steps": steps} | (lock(store, digest) or unknown)
        for digest, steps in session.execute(query).all()
        if digest
    ]


def lock(store: Store, digest: str) -> Document | None:
    """Python, platform and packages; None when the lock is not in the store any more, or is none."""
    if not is_digest(digest) or (store.size(blob_key(digest)) or MOST_BYTES + 1) > MOST_BYTES:
        return None
    try:
        found = json.loads(store.get_blob(digest))
    except ValueError:
        return None
    except StoreError as error:
        if error.retryable:
            raise
        return None
    return found if is_lock(found) else None


def is_lock(document: Any) -> bool:
    if not isinstance(document, dict) or document.keys() != {"python", "platform", "packages"}:
        return False
    packages = document["packages"]
    texts = [document["python"], document["platform"]]
    return isinstance(packages, dict) and all(isinstance(text, str) for text in [*texts, *packages.values()])


def changes(store: Store, before: Any, after: Any) -> list[Document]:
    """What differs between two environments, each a digest: `{"name", "before", "after"}`, a package by its name.

    Where a lock is not there any more, or a side is an image, the two are told as they are.
    """
    if before == after:
        return []
    locks = [lock(store, side) if side else None for side in (before, after)]
    if locks[0] is None or locks[1] is None:
        return [{"name": "environment", "before": before, "after": after}]
    return list(_named(*map(_facts, locks)))


def _facts(found: Document | None) -> Document:
    told: Document = found or {"packages": {}}
    packages: Document = told["packages"]
    return {name: told.get(name) for name in ("python", "platform")} | packages


def _named(before: Document, after: Document) -> Iterator[Document]:
    for name in [*before, *(name for name in after if name not in before)]:
        if before.get(name) != after.get(name):
            yield {"name": name, "before": before.get(name), "after": after.get(name)}
