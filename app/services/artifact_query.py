"""Reads artifacts for the REST API and the dashboard: pages, one artifact, its users, its bytes. Writes nothing."""

import json
import tempfile
import zipfile
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from sqlalchemy import select, tuple_

from app.models import Artifact, Lineage, Project, Run, Step, Version, Workflow
from app.services.moments import iso
from app.services.paging import Page, decode, page_of
from app.services.session import Session
from celesta.codecs import preview, to_plain
from celesta.errors import NotFoundError
from celesta.store import Store

USERS_SHOWN = 50
SPOOL_BYTES = 1 << 22
MEDIA_TYPES = {
    "ndarray": "application/x-npy",
    "table": "application/vnd.apache.parquet",
    "directory": "application/zip",
}
SUFFIXES = {"ndarray": ".npy", "table": ".parquet", "directory": ".zip", "pickle": ".pkl"}
Document = dict[str, Any]


@dataclass(frozen=True)
class Content:
    """An artifact as a download; `stream` is the caller's to close."""

    stream: BinaryIO
    size: int | None
    name: str
    media_type: str


def page(
    session: Session, project: Project, *, run: str = "", digest: str = "", cursor: str = "", limit: int = 50
) -> Page[Artifact]:
    """The newest artifacts first; `digest` may be the beginning of one."""
    query = select(Artifact).where(Artifact.project_id == project.id)
    if run:
        query = query.where(Artifact.run_id == run)
    if digest:
        query = query.where(Artifact.digest.startswith(digest, autoescape=True))
    if cursor:
        query = query.where(tuple_(Artifact.id) < decode(cursor, int))
    rows = session.scalars(query.order_by(Artifact.id.desc()).limit(limit + 1)).all()
    return page_of(rows, limit, lambda artifact: (artifact.id,))


def get(session: Session, project: Project, artifact_id: int) -> Artifact:
    artifact = session.scalar(select(Artifact).where(Artifact.id == artifact_id, Artifact.project_id == project.id))
    if artifact is None:
        raise NotFoundError(
            f'there is no artifact {artifact_id} in project "{project.name}"; see: celesta artifacts list'
        )
    return artifact


def of_run(session: Session, run_id: str, digests: set[str]) -> dict[str, int]:
    """The artifact of each digest that the run made."""
    query = select(Artifact.digest, Artifact.id).where(Artifact.run_id == run_id, Artifact.digest.in_(digests))
    return dict(session.execute(query).all())


def of_step(session: Session, run_id: str, node: str) -> dict[str, int]:
    """The artifact of each output name of a step."""
    query = select(Artifact.name, Artifact.id).where(Artifact.run_id == run_id, Artifact.node == node)
    return dict(session.execute(query).all())


def producer(session: Session, artifact: Artifact) -> Document:
    """The step that made it and the run that this was in; `source` is the step whose result the cache gave, if any."""
    query = (
        select(Step.task, Step.state, Step.source, Run.created_by, Workflow.name, Version.digest)
        .join(Run, Run.id == Step.run_id)
        .join(Workflow, Workflow.id == Run.workflow_id)
        .join(Version, Version.id == Run.version_id)
        .where(Step.run_id == artifact.run_id, Step.node == artifact.node)
    )
    task, state, source, created_by, workflow, version = session.execute(query).one()
    return {
        "run_id": artifact.run_id,
        "node": artifact.node,
        "path": artifact.path,
        "task": task,
        "state": state,
        "source": source,
        "workflow": workflow,
        "version": version,
        "created_by": created_by,
    }


def users(session: Session, artifact: Artifact) -> list[Document]:
    """The steps of the project that took this value, the newest runs first."""
    query = (
        select(Lineage.run_id, Lineage.node, Lineage.name, Step.path)
        .join(Step, (Step.run_id == Lineage.run_id) & (Step.node == Lineage.node))
        .where(Lineage.project_id == artifact.project_id, Lineage.digest == artifact.digest)
        .order_by(Lineage.run_id.desc(), Lineage.node)
        .limit(USERS_SHOWN)
    )
    return [
        {"run_id": run, "node": node, "input": name, "path": path} for run, node, name, path in session.execute(query)
    ]


def document(artifact: Artifact) -> Document:
    return {
        "id": artifact.id,
        "run_id": artifact.run_id,
        "node": artifact.node,
        "path": artifact.path,
        "name": artifact.name,
        "type": artifact.type,
        "digest": artifact.digest,
        "blob": artifact.blob,
        "size": artifact.size,
        "preview": preview(artifact.ref),
        "ref": artifact.ref,
        "created_at": iso(artifact.created_at),
    }


def content(artifact: Artifact, store: Store) -> Content:
    """Bytes for people: files, arrays and tables as they are stored, values as JSON, a directory as a zip."""
    ref, kind = artifact.ref, artifact.type
    stem = f"{artifact.path}.{artifact.name}".replace("/", "_")
    if kind in ("json", "list"):
        text = json.dumps(to_plain(ref, store), indent=2, ensure_ascii=False).encode()
        return Content(_spooled(text), len(text), f"{stem}.json", "application/json")
    if kind == "directory":
        stream, size = _zip(ref, store)
        return Content(stream, size, f"{stem}.zip", MEDIA_TYPES[kind])
    name = ref.get("name") or stem + SUFFIXES.get(kind, "")
    media_type = ref.get("media_type") or MEDIA_TYPES.get(kind, "application/octet-stream")
    return Content(store.open_blob(ref["blob"]), ref.get("size") if kind == "file" else None, name, media_type)


def _spooled(data: bytes = b"") -> BinaryIO:
    stream = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115 - the response closes it
    stream.write(data)
    stream.seek(0)
    return cast(BinaryIO, stream)


def _zip(ref: Document, store: Store) -> tuple[BinaryIO, int]:
    stream = _spooled()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        listing = json.loads(store.get_blob(ref["blob"]))
        for folder in listing.get("folders", ()):
            archive.mkdir(folder)
        for path, entry in sorted(listing["files"].items()):
            with store.open_blob(entry["digest"]) as source, archive.open(path, "w", force_zip64=True) as target:
                while chunk := source.read(1 << 20):
                    target.write(chunk)
    size = stream.tell()
    stream.seek(0)
    return stream, size
