"""Finds who made the bytes of a file: artifacts of that content, and those that hold it as a part.

A file that was downloaded tells by its SHA-256 alone where it came from. Folders and lists name their parts in blobs,
which are read for it, those of the newest artifacts, and no more than a server can hold. What has no form or is too
large is passed over: somebody's broken folder must keep nobody from finding. Called by `app.api`. Writes nothing.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import Any

from sqlalchemy import or_, select

from app.access import Principal
from app.models import Artifact, Project, Run, Step, Version, Workflow
from app.services import artifact_query, model_query, project_query
from app.services.session import Session
from celesta.codecs import blobs
from celesta.codecs.reach import MALFORMED
from celesta.codecs.verify import MAX_READ_BYTES
from celesta.errors import NotFoundError, StoreError
from celesta.store import Store
from celesta.store.base import blob_key

MOST = 50
CONTAINERS = ("directory", "list")
MOST_CONTAINERS = 1_000
MOST_READ_BYTES = 4 * MAX_READ_BYTES
"""Of all blobs that one search reads, which are in memory side by side."""
READ_AT_ONCE = 8
Document = dict[str, Any]


def find(session: Session, store: Store, principal: Principal, digest: str) -> list[Document]:
    """Wholes before parts, and of each those who computed it before those whom the cache gave it, the earliest first;
    raises `NotFoundError`.

    Looks into all projects that the caller may see.
    """
    projects = [project.id for project in project_query.visible(session, principal)]
    found = [_document(row, None) for row in session.execute(_whole(projects, digest))]
    if len(found) < MOST:
        found += _as_parts(session, _Bounded(store), projects, digest, MOST - len(found))
    found = found or _nobody(digest)
    models = model_query.of_digest(session, projects, {item["digest"] for item in found})
    return [item | {"models": models.get(item["digest"], [])} for item in found]


def _whole(projects: list[int], digest: str) -> Any:
    """The digest of an array or a table is not that of its bytes: those are told by their blob."""
    same = or_(Artifact.digest == digest, (Artifact.blob == digest) & (Artifact.blob != Artifact.digest))
    return _artifacts(projects).where(same).order_by(Step.state == "cached", Artifact.id).limit(MOST)


def _artifacts(projects: list[int]) -> Any:
    return (
        select(Artifact, Step.state, Run.created_by, Project.name, Workflow.name, Version.digest)
        .join(Run, Run.id == Artifact.run_id)
        .join(Step, (Step.run_id == Artifact.run_id) & (Step.node == Artifact.node))
        .join(Project, Project.id == Artifact.project_id)
        .join(Workflow, Workflow.id == Run.workflow_id)
        .join(Version, Version.id == Run.version_id)
        .where(Artifact.project_id.in_(projects))
    )


def _as_parts(session: Session, store: Store, projects: list[int], digest: str, most: int) -> Iterator[Document]:
    query = select(Artifact.id, Artifact.ref).where(Artifact.project_id.in_(projects), Artifact.type.in_(CONTAINERS))
    rows = session.execute(query.order_by(Artifact.id.desc()).limit(MOST_CONTAINERS)).all()
    by_digest = {ref["digest"]: ref for _, ref in rows}
    with ThreadPoolExecutor(READ_AT_ONCE) as pool:
        places = dict(zip(by_digest, pool.map(partial(_place, store, digest), by_digest.values()), strict=True))
    holders = {artifact: places[ref["digest"]] for artifact, ref in rows if places[ref["digest"]]}
    query = _artifacts(projects).where(Artifact.id.in_(holders)).order_by(Step.state == "cached", Artifact.id)
    for row in session.execute(query.limit(most)):
        yield _document(row, holders[row[0].id])


def _place(store: Store, digest: str, ref: Document) -> str | None:
    """Where in the value the blob is; None: nowhere, or the value cannot be read, now or ever."""
    try:
        return next((place for place, blob in blobs(ref, store) if blob == digest and place), None)
    except MALFORMED:
        return None
    except StoreError as error:
        if error.retryable:
            raise
        return None


class _Bounded(Store):
    """The blobs that name parts, as far as one search reads them."""

    def __init__(self, store: Store) -> None:
        self.url, self._store = store.url, store
        self._left, self._lock = MOST_READ_BYTES, Lock()

    def get_blob(self, digest: str) -> bytes:
        size = self._store.size(blob_key(digest)) or 0
        with self._lock:
            if size > min(MAX_READ_BYTES, self._left):
                raise StoreError(f"blob {digest} is too large to be searched", code="too_large", retryable=False)
            self._left -= size
        return self._store.get_blob(digest)


def _document(row: Any, place: str | None) -> Document:
    artifact, state, created_by, project, workflow, version = row
    return artifact_query.document(artifact) | {
        "part": place,
        "cached": state == "cached",
        "project": project,
        "workflow": workflow,
        "version": version,
        "created_by": created_by,
    }


def _nobody(digest: str) -> list[Document]:
    raise NotFoundError(
        f"no run that you may see made a file of these bytes (SHA-256 {digest[:12]}…); a value that was downloaded as "
        "JSON is written anew for people, so look for it by its digest: celesta artifacts list --digest"
    )
