"""Reads runs for the REST API and the dashboard: pages, one run, and the run document of the contracts.

Called by `app.api` and `app.web`. Three statements for a page of any size. Writes nothing.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import joinedload

from app.models import RUN_TERMINAL, Project, Run, Step, Version, Workflow
from app.services.moments import iso, seconds_between
from app.services.paging import Page, decode, page_of
from app.services.session import Session
from celesta.codecs import shown
from celesta.errors import NotFoundError
from celesta.store import Store

COUNTS = ("total", "succeeded", "cached", "failed", "skipped", "cancelled")
Document = dict[str, Any]


def page(
    session: Session, project: Project, *, workflow: str = "", status: str = "", cursor: str = "", limit: int = 50
) -> Page[Run]:
    """The newest runs of a project first."""
    query = (
        select(Run)
        .where(Run.project_id == project.id)
        .options(
            joinedload(Run.workflow).load_only(Workflow.name, Workflow.project_id),
            joinedload(Run.version).load_only(Version.digest),
        )
        .order_by(Run.created_at.desc(), Run.id.desc())
        .limit(limit + 1)
    )
    if workflow:
        query = query.where(
            Run.workflow_id
            == select(Workflow.id).where(Workflow.project_id == project.id, Workflow.name == workflow).scalar_subquery()
        )
    if status:
        query = query.where(Run.status == status)
    if cursor:
        query = query.where(tuple_(Run.created_at, Run.id) < decode(cursor, datetime, str))
    return page_of(session.scalars(query).all(), limit, lambda run: (run.created_at, run.id))


def get(session: Session, project: Project, run_id: str) -> Run:
    """Raises `NotFoundError`, also for a run of another project."""
    run = session.scalar(
        select(Run)
        .where(Run.id == run_id, Run.project_id == project.id)
        .options(joinedload(Run.workflow), joinedload(Run.version).load_only(Version.digest, Version.plan_blob))
        .execution_options(populate_existing=True)
    )
    if run is None:
        raise NotFoundError(f'there is no run "{run_id}" in project "{project.name}"; see: celesta runs list')
    return run


def is_recorded(session: Session, run_id: str) -> bool:
    """Whether the run has ended and its record is whole."""
    return session.scalar(select(Run.recorded_at).where(Run.id == run_id)) is not None


def live_counts(session: Session, runs: Iterable[Run]) -> dict[str, Counter[str]]:
    """Steps by state of the runs that have not ended, in one statement; the gather of a map is not counted."""
    open_runs = [run.id for run in runs if run.recorded_at is None]
    counts: dict[str, Counter[str]] = {run_id: Counter() for run_id in open_runs}
    if open_runs:
        rows = session.execute(
            select(Step.run_id, Step.state, func.count())
            .where(Step.run_id.in_(open_runs), Step.width.is_(None))
            .group_by(Step.run_id, Step.state)
        )
        for run_id, state, number in rows:
            counts[run_id]["skipped" if state == "upstream_failed" else state] += number
    return counts


def documents(
    session: Session, project: Project, runs: list[Run], link: str, store: Store | None = None
) -> list[Document]:
    """Run documents. `link` is the address of a run with `{run}` in it; without a store large values are digests."""
    counts = live_counts(session, runs)
    return [_document(project, run, counts.get(run.id), link, store) for run in runs]


def _document(project: Project, run: Run, live: Counter[str] | None, link: str, store: Store | None) -> Document:
    return {
        "run_id": run.id,
        "project": project.name,
        "workflow": run.workflow_name,
        "version": run.version.digest,
        "status": run.status,
        "inputs": plain_values(run.inputs, store),
        "outputs": plain_values(run.outputs, store),
        "steps": _counts(run, live),
        "error": run.error,
        "created_by": run.created_by,
        "created_at": iso(run.created_at),
        "started_at": iso(run.started_at),
        "paused_at": iso(run.paused_at),
        "finished_at": iso(run.finished_at),
        "recorded_at": iso(run.recorded_at),
        # From launch accepted to the end durable in the database: what a user waits for.
        "duration_seconds": seconds_between(run.created_at, run.recorded_at),
        "url": link.format(run=run.id),
        "options": run.options,
        "origin": {"run_id": run.origin_run_id, "kind": run.origin_kind} if run.origin_run_id else None,
    }


def _counts(run: Run, live: Counter[str] | None) -> dict[str, int]:
    if live is None or run.status in RUN_TERMINAL:
        return {name: getattr(run, name) for name in COUNTS}
    settled = {name: live[name] for name in COUNTS[1:]}
    return {"total": max(run.total, sum(live.values())), **settled, "running": live["running"]}


def plain_values(refs: dict[str, Any] | None, store: Store | None) -> dict[str, Any]:
    return {name: shown(ref, store) for name, ref in (refs or {}).items()}
