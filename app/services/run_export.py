"""Exports a run as one archive that stands alone: spec, code, inputs, manifests, values, metrics, lineage.

Writes to a file that the caller gives, and nothing else. The layout is that of `run_archive`.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.models import Project, Run
from app.services import metric_query, ro_crate, run_query, run_record
from app.services.run_archive import CHUNK_BYTES, CODE, FORMAT, MANIFESTS, METADATA, RECORD, SPEC
from app.services.session import Session
from celesta.codecs import blobs
from celesta.codecs.reach import values_of
from celesta.errors import ConflictError
from celesta.hashing import digest_of
from celesta.store import Store, step_prefix
from celesta.store.base import blob_key

EVIDENCE = ("result.json", "log.txt", "report.html")
Document = dict[str, Any]


def export_run(session: Session, store: Store, project: Project, run: Run, target: Path) -> None:
    """Raises `ConflictError` while the run has not ended, `StoreError` when a value of it is gone."""
    if run.recorded_at is None:
        raise ConflictError(f"the run {run.id} has not ended yet; wait for it: celesta runs watch {run.id}")
    record = _record(session, project, run)
    spec = store.get_blob(run.version.spec_blob)
    with zipfile.ZipFile(target, "w") as file:
        writer = _Writer(file)
        writer.text(RECORD, json.dumps(record, ensure_ascii=False).encode())
        writer.text(SPEC, spec)
        if run.version.bundle:
            writer.stream(CODE, store, blob_key(run.version.bundle))
        for digest in sorted(_blobs(record, json.loads(spec), store) - {run.version.bundle}):
            writer.stream(blob_key(digest), store, blob_key(digest))
        for name, key in _evidence(record["steps"], run.id):
            writer.stream(name, store, key, optional=True)
        document = run_query.documents(session, project, [run], "")[0]
        crate = ro_crate.crate(document, run.inputs, run.outputs or {}, writer.files)
        writer.text(METADATA, json.dumps(crate, indent=1, ensure_ascii=False).encode())


def _record(session: Session, project: Project, run: Run) -> Document:
    rows = run_record.rows_of(session, run)
    _add_metrics_of_hits(session, run, rows)
    return {
        "celesta_run": FORMAT,
        "run_id": run.id,
        "project": project.name,
        "workflow": run.workflow_name,
        "version": run.version.digest,
        "label": run.version.label,
        "git": run.version.git,
        "created_by": run.created_by,
        "run": run_record.run_of(run),
        **rows,
    }


def _add_metrics_of_hits(session: Session, run: Run, rows: dict[str, list[Document]]) -> None:
    """Elsewhere the step that answered from the cache is not there: its measurements go along."""
    hits = {step["path"]: step for step in rows["steps"] if step["source"]}
    counted: dict[str, int] = {}
    for point in metric_query.of_run(session, run) if hits else ():
        if point.path in hits:
            step = hits[point.path]
            ordinal = counted[point.path] = counted.get(point.path, -1) + 1
            measured = {"name": point.name, "step": point.step, "value": point.value, "at": step["finished_at"]}
            rows["metrics"].append({"node": step["node"], "ordinal": ordinal} | measured)


def _blobs(record: Document, spec: Document, store: Store) -> set[str]:
    refs = [*record["run"]["inputs"].values(), *(record["run"]["outputs"] or {}).values()]
    refs += [artifact["ref"] for artifact in record["artifacts"]]
    refs += [ref for step in record["steps"] for ref in (step["outputs"] or {}).values()]
    refs += list(values_of(spec))
    plans = {step["plan"] for step in record["steps"] if step["plan"]}
    locks = {step["environment"] for step in record["steps"] if step["environment"]}
    for plan in plans:
        refs += list(values_of(json.loads(store.get_blob(plan))))
    return (
        plans
        | {digest for digest in locks if store.has_blob(digest)}
        | {digest for ref in refs for _, digest in blobs(ref, store)}
    )


def _evidence(steps: list[Document], run_id: str) -> Iterator[tuple[str, str]]:
    """Names in the archive and keys in the store of what steps left behind; of a hit, what the answering step did."""
    for step in steps:
        source = step["source"] or {"run": run_id, "path": step["path"], "token": step["token"]}
        if source.get("token"):
            prefix = step_prefix(source["run"], source["path"], source["token"])
            here = step_prefix("", step["path"], source["token"]).removeprefix("runs//")
            for name in EVIDENCE:
                yield f"{MANIFESTS}{here}{name}", f"{prefix}{name}"


class _Writer:
    """Writes files and remembers their digests. Values are kept as they are, so that an honest archive never swells."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        self._file = file
        self.files: dict[str, tuple[str, int]] = {}

    def text(self, name: str, data: bytes) -> None:
        self._file.writestr(name, data, zipfile.ZIP_DEFLATED)
        self.files[name] = (digest_of(data), len(data))

    def stream(self, name: str, store: Store, key: str, optional: bool = False) -> None:
        source = store.open(key)
        if source is None and optional:
            return
        with (
            source or store.open_blob(key.rpartition("/")[2]) as stream,
            self._file.open(name, "w", force_zip64=True) as out,
        ):
            seen, size = hashlib.sha256(), 0
            while chunk := stream.read(CHUNK_BYTES):
                seen.update(chunk)
                size += out.write(chunk)
        self.files[name] = (seen.hexdigest(), size)
