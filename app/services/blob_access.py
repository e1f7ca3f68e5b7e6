"""Which blobs a principal may read, or rely on by naming their digest.

A blob is found by what refers to it in a project that the principal may see: an artifact, also one that became a model,
or that it was given to the project, by an upload or with an input of a run. Only what was held to be a blob of the
project counts: the digest of a table is what its maker says, and may be that of anything. Who knows no more than a
digest gets nothing for it, neither the bytes nor a step that reads them. Parts of a value belong to whoever has the
value: they are reached through it.

Called where digests come from outside: the blob routes, registrations, launches, and results of steps in containers.
The operator of the server sees all projects, and is asked nothing.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from app.access import Principal
from app.db import writing
from app.models import Artifact, Upload
from app.models.columns import now
from app.services.session import Session
from celesta.codecs.reach import blobs_within
from celesta.store import Store
from celesta.store.base import KEPT_SECONDS, blob_key, is_digest

CHUNK = 500
ASKED_AT_ONCE = 8
Ref = Mapping[str, Any]
Name = tuple[str, str, str | None]
"""Type, digest and blob of a value."""
Projects = Collection[int] | None
"""Ids of projects; None: all of them."""


def projects_of(principal: Principal) -> Projects:
    """The projects whose blobs the principal may rely on."""
    return None if principal.everywhere else sorted(principal.roles)


def note(session: Any, project_id: int, digests: Iterable[str]) -> None:
    """Remembers that the project has these bytes, from now on. For use inside of `writing`."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    rows = [{"project_id": project_id, "digest": digest, "at": now()} for digest in sorted(set(digests))]
    if rows:
        new = insert(Upload)
        again = new.on_conflict_do_update(index_elements=["project_id", "digest"], set_={"at": new.excluded.at})
        session.execute(again, rows)


def uploaded(session: Any, project_id: int, digest: str) -> None:
    """Remembers one upload, once it is stored; again after an hour, as `Store.keep` does: a garbage collection that
    goes on forgets only those of before."""
    known = session.get(Upload, (project_id, digest))
    if known is None or known.at < now() - timedelta(seconds=KEPT_SECONDS):
        with writing(session):
            note(session, project_id, [digest])


def put_upload(session: Any, store: Store, project_id: int, path: Path) -> tuple[str, int]:
    """Stores a file that somebody gave to the project; its digest and size."""
    digest, size = store.put_blob_file(path)
    uploaded(session, project_id, digest)
    return digest, size


def may_read(session: Session, projects: Projects, digest: str) -> bool:
    return not without_access(session, projects, [digest])


def without_access(session: Session, projects: Projects, digests: Iterable[str]) -> set[str]:
    """Those of the digests that nothing in these projects refers to. Three look-ups by index for every 500.

    What is not a digest is not asked for: not every text is one that a database takes.
    """
    wanted = set() if projects is None else set(digests)
    asked = sorted(filter(is_digest, wanted))
    for start in range(0, len(asked), CHUNK):
        for query in _held(projects or (), asked[start : start + CHUNK]):
            wanted.difference_update(session.scalars(query))
    return wanted


def _held(projects: Collection[int], digests: list[str]) -> Iterator[Any]:
    yield select(Upload.digest).where(Upload.project_id.in_(projects), Upload.digest.in_(digests))
    for is_stored in (  # each the condition of an index
        Artifact.digest.in_(digests) & (Artifact.blob == Artifact.digest),
        Artifact.blob.in_(digests) & (Artifact.blob != Artifact.digest),
    ):
        yield select(Artifact.blob).where(is_stored, Artifact.project_id.in_(projects)).distinct()


def foreign(
    session: Session, projects: Projects, store: Store, refs: Iterable[Ref], known: Collection[str] = ()
) -> set[str]:
    """The blobs that these values rest on, at any depth, and that are of other projects only.

    `known` are blobs that need no reason. Raises `StoreError` when a value cannot be looked into.
    """
    if projects is None:
        return set()
    rest = [ref for ref in refs if not _is_inline(ref)]
    ours = _wholes(session, projects, rest)
    below = blobs_within((ref for ref in rest if _name(ref) not in ours), store)
    return without_access(session, projects, set(below).difference(known))


def keep_values(store: Store, refs: Iterable[Ref]) -> None:
    """Keeps the blobs that these values rest on from being collected before a row of ours refers to them."""
    digests = sorted(set(blobs_within((ref for ref in refs if not _is_inline(ref)), store)))
    if digests:
        with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
            list(pool.map(partial(keep, store), digests))


def keep(store: Store, digest: str) -> bool:
    """Whether a blob is there; then it counts as written now."""
    size = store.size(blob_key(digest))
    return size is not None and (store.keep(blob_key(digest), size) or True)


def _is_inline(ref: Ref) -> bool:
    """Whether nothing of it is in the store, as nearly all values that people type."""
    return ref["type"] == "json" and "blob" not in ref and not isinstance(ref.get("inline"), dict | list)


def _name(ref: Ref) -> Name:
    return ref["type"], ref["digest"], ref.get("blob")


def _wholes(session: Session, projects: Collection[int], refs: list[Ref]) -> set[Name]:
    """The values that are artifacts of these projects as they are: what lies in them is theirs too. By type, digest and
    blob: a file may have the very bytes of a folder's listing, and so may JSON that names nothing; they hold nothing.
    """
    names = sorted({(ref["type"], ref["digest"], ref["blob"]) for ref in refs if "blob" in ref})
    columns = Artifact.type, Artifact.digest, Artifact.blob
    found: set[Name] = set()
    for start in range(0, len(names), CHUNK):
        part = names[start : start + CHUNK]
        query = select(*columns).where(tuple_(*columns).in_(part)).distinct()
        # By itself the digest is found through an index.
        query = query.where(Artifact.project_id.in_(projects), Artifact.digest.in_([digest for _, digest, _ in part]))
        found |= {(kind, digest, blob) for kind, digest, blob in session.execute(query)}
    return found
