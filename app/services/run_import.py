"""Makes a run of an archive that `run_export` wrote, here or elsewhere.

Everything is checked before anything is written: names, digests, records, references. Then come the values, which
nobody sees by themselves and which are collected when nothing refers to them, and at last all rows in one transaction,
those of the version among them. The run has an id of its own; its
origin is the run that was exported. Importing an archive again gives the same run.
"""

import contextlib
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from app.access import Principal, require
from app.compiler import compile_plan
from app.compiler.plan import Plan
from app.compiler.schema import load_spec
from app.db import writing
from app.models import RUN_TERMINAL, STEP_STATES, Project, Run
from app.models.columns import now
from app.services import run_record
from app.services.audit import record as record_audit
from app.services.blob_access import note
from app.services.environment_diff import lock
from app.services.run_archive import CODE, FORMAT, MANIFESTS, RECORD, SPEC, Archive, opened
from app.services.run_launch import inputs_of
from app.services.version_register import Prepared, added, prepared
from celesta.codecs import verify
from celesta.codecs.reach import MALFORMED
from celesta.errors import InputError, Problem, StoreError
from celesta.hashing import digest_of
from celesta.ids import new_run_id
from celesta.spec import spec_digest
from celesta.store import Store, step_prefix
from celesta.store.base import blob_key
from celesta.tokens import FIRST_TOKEN, is_token

CHUNK_BYTES = 1 << 20
MOST_PROBLEMS = 20
Document = dict[str, Any]
Rows = dict[str, list[Document]]


def import_run(session: Any, store: Store, principal: Principal, project: Project, path: Path) -> Run:
    """The imported run. Raises `InputError` with what is wrong with the archive; then nothing was written."""
    require(principal, "editor", project)
    with opened(path) as archive:
        key = f"import:{digest_of(archive.get(RECORD) or b'')}"
        first = _imported(session, project, key)
        if first is not None:
            return first
        record, spec = archive.document(RECORD), archive.document(SPEC)
        head, rows = _checked(record, spec, archive)
        _put_values(store, archive, spec)
        brought = {*archive.blobs, *([spec["bundle"]] if spec["bundle"] else [])}
        ready = prepared(session, store, principal, project, spec, brought)
        run = Run(
            **head,
            id=new_run_id(),
            project_id=project.id,
            idempotency_key=key,
            origin_run_id=record["run_id"],
            origin_kind="import",
            created_by=principal.name,
            published_at=now(),
        )
        try:
            _put_manifests(store, archive, run.id)
            kept = _commit(session, principal, project, ready, run, rows, record, brought)
        except BaseException:
            _discard(store, run.id)
            raise
        if kept.id != run.id:
            _discard(store, run.id)
        return kept


def _checked(record: Document, spec: Document, archive: Archive) -> tuple[Document, Rows]:
    """The columns of the run and the rows of its tables. Raises `InputError` with all problems."""
    if record.get("celesta_run") != FORMAT:
        raise InputError([Problem(RECORD, f"is of format {record.get('celesta_run')!r}; this release reads {FORMAT}")])
    compile_plan(load_spec(spec))
    problems = [
        Problem(f"{RECORD}.{name}", "is missing, or no text")
        for name in ("run_id", "workflow", "version")
        if not isinstance(record.get(name), str)
    ]
    if spec_digest(spec) != record.get("version"):
        problems.append(Problem(SPEC, "is not the version that the record names"))
    if spec["bundle"] != (digest_of(archive.get(CODE) or b"") if archive.size(CODE) is not None else None):
        problems.append(Problem(CODE, "is not the code that the spec names"))
    head = run_record.read(Run, record.get("run"), "run", problems, only=run_record.RUN)
    rows = {name: _rows(record, name, problems) for name in run_record.TABLES}
    problems += _contradictions(head, rows)
    if not problems:
        problems += _false_values(head, rows, archive)
    if problems:
        raise InputError("this archive does not hold a run", problems[:MOST_PROBLEMS])
    return head, _settled_here(rows, archive)


def _rows(record: Document, name: str, problems: list[Problem]) -> list[Document]:
    given = record.get(name)
    if not isinstance(given, list):
        problems.append(Problem(name, "is no list"))
        return []
    model = run_record.TABLES[name]
    return [run_record.read(model, row, f"{name}[{index}]", problems) for index, row in enumerate(given)]


def _contradictions(head: Document, rows: Rows) -> Iterator[Problem]:
    if head.get("status") not in RUN_TERMINAL:
        yield Problem("run.status", f"is none of {', '.join(RUN_TERMINAL)}")
    if head.get("recorded_at") is None:
        yield Problem("run.recorded_at", "is missing: only a run that has ended is exported")
    for index, step in enumerate(rows["steps"]):
        if step.get("state") not in STEP_STATES:
            yield Problem(f"steps[{index}].state", f"is none of {', '.join(STEP_STATES)}")
        if not all(is_token(str(of.get("token") or FIRST_TOKEN)) for of in (step, step.get("source") or {})):
            yield Problem(f"steps[{index}].token", "is not the token of an attempt, like 1.1")
    for index, artifact in enumerate(rows["artifacts"]):
        ref = artifact.get("ref") or {}
        if any(artifact.get(name) != ref.get(name) for name in ("type", "digest", "size", "blob")):
            yield Problem(f"artifacts[{index}]", "says something else than its reference")


def _false_values(head: Document, rows: Rows, archive: Archive) -> Iterator[Problem]:
    """Every reference is that of a value which is in the archive, whole."""
    refs = [(f"run.inputs.{name}", ref) for name, ref in (head["inputs"] or {}).items()]
    refs += [(f"run.outputs.{name}", ref) for name, ref in (head["outputs"] or {}).items()]
    refs += [(f"artifacts[{index}].ref", artifact["ref"]) for index, artifact in enumerate(rows["artifacts"])]
    for index, step in enumerate(rows["steps"]):
        if step["environment"] is not None and not lock(archive, step["environment"]):
            step["environment"] = None  # it was not exported, or is none
        if step["plan"] is not None:
            yield from _false_plan(step["plan"], archive, f"steps[{index}].plan")
        refs += [(f"steps[{index}].outputs.{name}", ref) for name, ref in (step["outputs"] or {}).items()]
    for where, ref in refs:
        yield from verify(ref, archive, where)


def _false_plan(digest: str, archive: Archive, where: str) -> Iterator[Problem]:
    """Pages, exports and garbage collection read the plan that a step opened."""
    try:
        Plan.from_bytes(archive.get_blob(digest))
    except (StoreError, *MALFORMED):
        yield Problem(where, "is not the digest of a plan in the archive")


def _settled_here(rows: Rows, archive: Archive) -> Rows:
    """A step that the cache answered has its evidence with it now: the run that answered is not here."""
    for step in rows["steps"]:
        source, step["source"], step["cache_key"] = step["source"], None, None
        if isinstance(source, dict) and source.get("token"):
            step["token"] = str(source["token"])
            prefix = step_prefix("", step["path"], step["token"]).replace("runs//", MANIFESTS, 1)
            step["log_bytes"] = archive.size(f"{prefix}log.txt") or 0
            step["report"] = archive.size(f"{prefix}report.html") is not None
    for artifact in rows["artifacts"]:
        artifact["created_at"] = now()  # here it is from now on: nothing that is older can have been made of it
    return rows


def _put_values(store: Store, archive: Archive, spec: Document) -> None:
    with tempfile.TemporaryDirectory(prefix="celesta-import-") as folder:
        path = Path(folder) / "blob"
        for digest in archive.blobs:
            if not store.keep(blob_key(digest), archive.size(blob_key(digest)) or 0):
                archive.fetch_blob(digest, path)
                store.put_blob_file(path)
                path.unlink()
    if spec["bundle"]:
        store.put_blob(archive.get(CODE) or b"")


def _put_manifests(store: Store, archive: Archive, run_id: str) -> None:
    with tempfile.TemporaryDirectory(prefix="celesta-import-") as folder:
        for name in archive.manifests:
            store.put_file(f"runs/{run_id}/{name.removeprefix(MANIFESTS)}", archive.unpacked(name, Path(folder)))


def _discard(store: Store, run_id: str) -> None:
    """What steps left behind, of a run that did not come to be."""
    for key in list(store.list(f"runs/{run_id}/")):
        store.delete(key)


def _commit(
    session: Any,
    principal: Principal,
    project: Project,
    ready: Prepared,
    run: Run,
    rows: Rows,
    record: Document,
    brought: Collection[str],
) -> Run:
    """The committed run, or the one that somebody made of the same archive in this very moment."""

    def commit() -> None:
        with writing(session):
            made = added(session, principal, project, ready, None, activate=False)
            run.workflow_id, run.version_id = made.workflow.id, made.version.id
            note(session, project.id, brought)
            session.add(run)
            session.flush()
            session.add_all(inputs_of(run))
            for name, model in run_record.TABLES.items():
                own = {"run_id": run.id} | ({"project_id": project.id} if name in ("artifacts", "lineage") else {})
                if rows[name]:
                    session.execute(insert(model), [row | own for row in rows[name]])
            detail = {"origin": record["run_id"], "created_by": str(record.get("created_by"))}
            record_audit(session, principal, "run.import", project, run.id, **detail)

    for _ in range(2):  # once again, when somebody added the same version in this very moment
        with contextlib.suppress(IntegrityError):
            commit()
            return run
        first = _imported(session, project, str(run.idempotency_key))
        if first is not None:
            return first
    raise InputError([Problem(RECORD, "holds rows that contradict each other")])


def _imported(session: Any, project: Project, key: str) -> Run | None:
    query = select(Run).where(Run.project_id == project.id, Run.idempotency_key == key)
    found: Run | None = session.scalars(query).one_or_none()
    return found
