"""Reads workflows, their versions and their graphs for the REST API and the dashboard. Writes nothing.

Plans and graphs are kept in memory by the digest of the plan: they are immutable, and a page needs them often.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from threading import Lock
from typing import Any

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import aliased, defer, joinedload

from app.compiler.plan import Plan
from app.models import Project, Run, Version, Workflow
from app.services.graph_groups import groups_of
from app.services.graph_layout import layout
from app.services.moments import iso
from app.services.paging import Page, decode, page_of
from app.services.session import Session
from app.services.version_find import find_workflow
from celesta.store import Store

KEPT_PLANS = 32
Document = dict[str, Any]


@dataclass(frozen=True)
class Listed:
    """A workflow with what a list tells about it."""

    workflow: Workflow
    versions: int
    last_run: Run | None


def page(
    session: Session, project: Project, *, kind: str = "", search: str = "", cursor: str = "", limit: int = 50
) -> Page[Listed]:
    """The workflows of a project by name: all or those of a kind, whose names hold `search`."""
    newest = aliased(Run)
    last = (
        select(newest.id)
        .where(newest.workflow_id == Workflow.id)
        .order_by(newest.created_at.desc(), newest.id.desc())
        .limit(1)
        .correlate(Workflow)
        .scalar_subquery()
    )
    versions = select(func.count()).where(Version.workflow_id == Workflow.id).correlate(Workflow).scalar_subquery()
    query = (
        select(Workflow, versions, Run)
        .outerjoin(Run, Run.id == last)
        .where(Workflow.project_id == project.id)
        .options(joinedload(Workflow.active_version))
        .order_by(Workflow.name)
        .limit(limit + 1)
    )
    if kind:
        query = query.where(Workflow.kind == kind)
    if search:
        query = query.where(Workflow.name.icontains(search, autoescape=True))
    if cursor:
        query = query.where(Workflow.name > decode(cursor, str)[0])
    rows = [Listed(*row) for row in session.execute(query)]
    return page_of(rows, limit, lambda row: (row.workflow.name,))


def names(session: Session, project: Project) -> list[str]:
    return list(session.scalars(select(Workflow.name).where(Workflow.project_id == project.id).order_by(Workflow.name)))


def get(session: Session, project: Project, name: str) -> Workflow:
    workflow = session.scalar(
        select(Workflow)
        .where(Workflow.project_id == project.id, Workflow.name == name)
        .options(joinedload(Workflow.active_version))
    )
    return workflow or find_workflow(session, project, name)


def versions(session: Session, workflow: Workflow, *, cursor: str = "", limit: int = 50) -> Page[Version]:
    """The newest versions of a workflow first."""
    query = (
        select(Version)
        .where(Version.workflow_id == workflow.id)
        .options(defer(Version.interface))
        .order_by(Version.created_at.desc(), Version.id.desc())
        .limit(limit + 1)
    )
    if cursor:
        query = query.where(tuple_(Version.created_at, Version.id) < decode(cursor, datetime, int))
    return page_of(session.scalars(query).all(), limit, lambda version: (version.created_at, version.id))


def document(listed: Listed) -> Document:
    workflow, last = listed.workflow, listed.last_run
    return {
        "name": workflow.name,
        "kind": workflow.kind,
        "active_version": workflow.active_version.digest if workflow.active_version else None,
        "versions": listed.versions,
        "steps": workflow.active_version.step_count if workflow.active_version else 0,
        "created_at": iso(workflow.created_at),
        "last_run": {"run_id": last.id, "status": last.status, "created_at": iso(last.created_at)} if last else None,
    }


def version_document(workflow: Workflow, found: Version, store: Store | None = None) -> Document:
    """`interface`, `doc` and `tasks` come from the spec, and only when a store is given."""
    listed: Document = {
        "version": found.digest,
        "label": found.label,
        "workflow": workflow.name,
        "active": found.id == workflow.active_version_id,
        "steps": found.step_count,
        "bundle": found.bundle,
        "git": found.git,
        "environment": found.environment,
        "created_by": found.created_by,
        "created_at": iso(found.created_at),
    }
    if store is None:
        return listed
    plan = load_plan(store, found.plan_blob)
    tasks = [_task(task) for task in plan.tasks]
    doc, packages = _of_spec(store, found.spec_blob)
    return listed | {"doc": doc, "packages": packages, "interface": found.interface, "tasks": tasks}


@lru_cache(maxsize=256)
def _of_spec(store: Store, spec_blob: str) -> tuple[str, Document]:
    """What the author says of the workflow, and the packages it was registered with: the spec alone has them."""
    spec = json.loads(store.get_blob(spec_blob))
    return str(spec.get("doc") or ""), (spec.get("environment") or {}).get("packages") or {}


def _task(task: Document) -> Document:
    return {
        name: task.get(name) for name in ("name", "kind", "entrypoint", "code_digest", "doc", "source", "interface")
    }


_plans: dict[tuple[str, str], Plan] = {}
_lock = Lock()


def load_plan(store: Store, blob: str) -> Plan:
    """The plan of that blob, read once; the oldest of the kept ones makes room."""
    key = (store.url, blob)
    with _lock:
        plan = _plans.pop(key, None)
    plan = plan or Plan.from_bytes(store.get_blob(blob))
    with _lock:
        _plans[key] = plan
        while len(_plans) > KEPT_PLANS:
            del _plans[next(iter(_plans))]
    return plan


def graph(store: Store, blob: str) -> Document:
    """Nodes, edges and places of a plan (contracts, section 12)."""
    return _graph(load_plan(store, blob))


@lru_cache(maxsize=KEPT_PLANS)
def _graph(plan: Plan) -> Document:
    edges = [(parent, index) for index, parents in enumerate(plan.parents) for parent in parents]
    nodes = [
        {
            "index": index,
            "path": step["path"],
            "task": plan.tasks[step["task"]]["name"],
            "map": bool(step["map"]),
            "kind": plan.in_place(index) or ("dynamic" if plan.task(index)["kind"] == "dynamic" else "task"),
        }
        for index, step in enumerate(plan.steps)
    ]
    names, belongs = groups_of([step["path"] for step in plan.steps])
    steps: dict[int, list[int]] = defaultdict(list)
    for index, own in enumerate(belongs):
        for group in own:
            steps[group].append(index)
    groups = [{"path": path, "steps": steps[group]} for group, path in enumerate(names)]
    drawn = layout(len(nodes), edges, belongs).document()
    return {"nodes": nodes, "edges": edges, "groups": groups, "layout": drawn}
