"""Garbage collection: deletes the blobs that nothing refers to. For the operator, beside database and store.

First everything that is referred to is marked: by versions, runs, artifacts, answers, cache entries, models, and by the
manifests of runs that have not ended. Then blobs without a mark are deleted, when they are old: a step stores its
outputs before anybody knows of them, and whoever relies on a blob that is there already has the store keep it
(`Store.keep`), which makes it young: so each is looked at once more before it goes. What was recorded while the marks
were made is marked before anything goes.

Memory is bounded: marks are kept in a file. A value that is in the store is read only to find what it holds in turn.
"""

import json
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import delete, func, select

from app.db import writing
from app.models import Answer, Artifact, CacheEntry, ModelVersion, Run, Step, Upload, Version
from app.services.session import Session
from celesta.codecs import blobs
from celesta.codecs.reach import MALFORMED, is_ambiguous, values_of
from celesta.errors import InputError, Problem, StoreError
from celesta.runtime.leave import read_result
from celesta.store import Store
from celesta.store.base import KEPT_SECONDS, blob_key

GRACE_SECONDS = 86_400.0
LEAST_GRACE_SECONDS = 2 * KEPT_SECONDS
"""A blob that was kept just before it would be kept again still has an hour until somebody refers to it."""
FETCHED = 1_000
SHOWN = 20
PREFIX = "blobs/sha256/"


@dataclass
class Collected:
    """What a collection found. `deleted` is 0 after a dry run; `examples` are digests of what it would take."""

    blobs: int = 0
    bytes: int = 0
    garbage: int = 0
    garbage_bytes: int = 0
    young: int = 0
    deleted: int = 0
    examples: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    """References of no form, and values that are damaged: they are passed over, and protect nothing below them."""


def collect(session: Session, store: Store, *, dry_run: bool = True, grace_seconds: float = GRACE_SECONDS) -> Collected:
    """Deletes what nothing refers to and what was not written or kept for so long; with `dry_run` only counts it.

    Raises `InputError` for a grace under two hours. Stopped in the middle it has deleted garbage only.
    """
    if grace_seconds < LEAST_GRACE_SECONDS:
        raise InputError([Problem("older_than", f"wants {LEAST_GRACE_SECONDS / 3600:g} hours or more")])
    return sweep(session, store, dry_run=dry_run, before=time.time() - grace_seconds)


def sweep(session: Session, store: Store, *, dry_run: bool, before: float) -> Collected:
    """The collection of what was last written or kept before a moment, in seconds since the epoch."""
    with tempfile.TemporaryDirectory(prefix="celesta-gc-") as folder:
        marks = _Marks(Path(folder) / "marks.db", store)
        newest = _newest(session)
        marks.add(chain.from_iterable(_references(session)))
        marks.add(_unfinished(session, store))
        found = marks.unmarked(before)
        session.rollback()  # what is read from here on is as new as it can be
        marks.add(chain.from_iterable(_references(session, *newest)))  # what was recorded meanwhile
        marks.add(_unfinished(session, store))
        session.rollback()
        gone: list[str] = []
        for digest, size in marks.garbage():
            found.garbage += 1
            found.garbage_bytes += size
            found.examples = (*found.examples, digest)[:SHOWN]
            if not dry_run and _is_old(store, digest, before):
                store.delete(blob_key(digest))
                found.deleted += 1
                gone.append(digest)
            if len(gone) >= FETCHED:
                _forget_uploads(session, gone, before)
                gone.clear()
        _forget_uploads(session, gone, before)
        found.unreadable = tuple(sorted(marks.unreadable))
        marks.close()
    return found


class _Holder(NamedTuple):
    """A spec or a plan: the constants that stand in it are referred to as well."""

    digest: str


class _Marks:
    """The digests that something refers to, and the old blobs, in a file: millions of them take no memory."""

    def __init__(self, path: Path, store: Store) -> None:
        self._db, self._store = sqlite3.connect(path, isolation_level=None), store
        self.unreadable: set[str] = set()
        self._db.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-32000;"
            "CREATE TABLE mark (digest BLOB PRIMARY KEY) WITHOUT ROWID;"
            "CREATE TABLE whole (ref BLOB PRIMARY KEY) WITHOUT ROWID;"
            "CREATE TABLE old (digest BLOB PRIMARY KEY, size INTEGER) WITHOUT ROWID;"
        )

    def close(self) -> None:
        self._db.close()

    def add(self, refs: Iterable[Any]) -> None:
        """Marks digests, what lies in specs and plans, and every blob below references. A blob that is gone protects
        nothing, and neither does a reference of no form, which a row may hold that was not written by us."""
        for ref in refs:
            try:
                if isinstance(ref, _Holder):
                    self._mark(ref.digest)
                    self.add(values_of(json.loads(self._store.get_blob(ref.digest))))
                elif isinstance(ref, str):
                    self._mark(ref)
                else:
                    self._add_below(ref)
            except StoreError as error:
                if error.retryable:
                    raise
                if error.code != "missing_blob":
                    self._pass_over(str(error))
            except MALFORMED:
                self._pass_over(f"{ref!r:.200} is no reference")

    def _add_below(self, ref: dict[str, Any]) -> None:
        """Once for each type, digest and blob: a file, or JSON that names nothing, may have the very bytes of a
        listing, and holds nothing. Nor is what a forged reference says beside its blob all that lies in that blob."""
        stored = "blob" in ref and not is_ambiguous(ref)
        name = _key(f"{ref['type']} {ref['digest']} {ref['blob']}") if stored else None
        if name and self._db.execute("SELECT 1 FROM whole WHERE ref = ?", (name,)).fetchone():
            return
        for _, digest in blobs(ref, self._store):
            self._mark(digest)
        if name:
            self._db.execute("INSERT OR IGNORE INTO whole VALUES (?)", (name,))

    def _pass_over(self, why: str) -> None:
        if len(self.unreadable) < SHOWN:
            self.unreadable.add(why)

    def unmarked(self, before: float) -> Collected:
        """Looks through all blobs; the old ones without a mark are candidates."""
        found = Collected()
        for entry in self._store.entries(PREFIX):
            digest = entry.key.rpartition("/")[2]
            found.blobs, found.bytes = found.blobs + 1, found.bytes + entry.size
            if self._is_marked(digest):
                continue
            if entry.written_at > before:
                found.young += 1
            else:
                self._db.execute("INSERT OR IGNORE INTO old VALUES (?, ?)", (_key(digest), entry.size))
        return found

    def garbage(self) -> Iterator[tuple[str, int]]:
        """The candidates that have no mark by now."""
        query = "SELECT digest, size FROM old WHERE digest NOT IN (SELECT digest FROM mark) ORDER BY digest"
        for digest, size in self._db.execute(query):
            yield digest.decode(), size

    def _mark(self, digest: str) -> None:
        self._db.execute("INSERT OR IGNORE INTO mark VALUES (?)", (_key(digest),))

    def _is_marked(self, digest: str) -> bool:
        return self._db.execute("SELECT 1 FROM mark WHERE digest = ?", (_key(digest),)).fetchone() is not None


def _forget_uploads(session: Session, digests: list[str], before: float) -> None:
    """Whoever had put these puts them again; who has done so since they were deleted keeps them."""
    old = Upload.at <= datetime.fromtimestamp(before, UTC)
    if digests:
        with writing(session):
            session.execute(delete(Upload).where(Upload.digest.in_(digests), old))


def _is_old(store: Store, digest: str, before: float) -> bool:
    """Whether it still is: somebody may have come to rely on it since all blobs were looked through."""
    key = blob_key(digest)
    return any(entry.key == key and entry.written_at <= before for entry in store.entries(key))


def _key(digest: str) -> bytes:
    return digest.encode()


def _newest(session: Session) -> tuple[int, Any]:
    """Up to which artifact and which moment everything is seen by the first marking."""
    return session.scalar(select(func.max(Artifact.id))) or 0, session.scalar(select(func.max(Run.created_at)))


def _references(session: Session, artifact_id: int = 0, since: Any = None) -> Iterator[Iterator[Any]]:
    """All that refers to values: later artifacts and runs only, when they are given."""
    yield _versions(session)
    runs, artifacts = select(Run.inputs, Run.outputs), select(Artifact.ref).where(Artifact.id > artifact_id)
    if since is not None:
        runs = runs.where(Run.created_at >= since)
    yield (ref for row in _rows(session, runs) for refs in row if isinstance(refs, dict) for ref in refs.values())
    yield (ref for (ref,) in _rows(session, artifacts))
    yield (ref for (ref,) in _rows(session, select(ModelVersion.ref)))
    yield (ref for (ref,) in _rows(session, select(Answer.value).where(Answer.value.is_not(None))))
    yield (
        ref for (refs,) in _rows(session, select(CacheEntry.outputs)) if isinstance(refs, dict) for ref in refs.values()
    )


def _versions(session: Session) -> Iterator[Any]:
    for spec_blob, plan_blob, bundle in _rows(session, select(Version.spec_blob, Version.plan_blob, Version.bundle)):
        yield from (digest for digest in (plan_blob, bundle) if digest)
        yield _Holder(spec_blob)
    for (plan,) in _rows(session, select(Step.plan).where(Step.plan.is_not(None)).distinct()):
        yield _Holder(plan)
    yield from (digest for (digest,) in _rows(session, select(Step.environment).distinct()) if digest)


def _unfinished(session: Session, store: Store) -> Iterator[Any]:
    """What steps of runs that have not ended left behind, and the recorder may not have written down yet."""
    for (run_id,) in _rows(session, select(Run.id).where(Run.recorded_at.is_(None))):
        for key in store.list(f"runs/{run_id}/"):
            if key.endswith("/result.json"):
                result = read_result(store, key) or {}
                outputs = result.get("outputs")
                yield from outputs.values() if isinstance(outputs, dict) else ()
                if result.get("dynamic"):
                    yield _Holder(result["dynamic"])


def _rows(session: Session, query: Any) -> Iterator[Any]:
    yield from session.execute(query.execution_options(yield_per=FETCHED))
