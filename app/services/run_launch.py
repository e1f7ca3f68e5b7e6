"""Launches a run: its row is committed, then the engine is told. A launch takes a few milliseconds."""

from itertools import chain
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app.access import Principal, require
from app.config import Config
from app.db import writing
from app.dispatch import send_start
from app.models import Project, Run, RunInput
from app.models.columns import now
from app.services import blob_access
from app.services.audit import record
from app.services.executor_check import require_executors
from app.services.limit_set import require_limits
from app.services.pod_check import require_templates
from app.services.refs import is_telling
from app.services.run_inputs import bind_inputs, require_steps
from app.services.secret_check import require_secrets
from app.services.share_find import usable_version
from app.services.workflow_query import load_plan
from celesta.codecs.reach import blobs_of
from celesta.errors import InputError, Problem
from celesta.ids import new_run_id
from celesta.store import Store

Refs = dict[str, Any]


class Origin(NamedTuple):
    """The run that a new one goes back to, and why: one of `ORIGIN_KINDS`."""

    run_id: str
    kind: str
    options: dict[str, Any] | None = None
    """What the new run takes over: `again` and `changed`, the steps and inputs that it does not. None: nothing."""


def launch_run(
    session: Any,
    config: Config,
    store: Store,
    principal: Principal,
    project: Project,
    *,
    workflow: str,
    version: str | None = None,
    inputs: dict[str, Any] | None = None,
    input_refs: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    idempotency_key: str | None = None,
    schedule_id: int | None = None,
    origin: Origin | None = None,
) -> Run:
    """The run, queued. The same idempotency key gives the same run, whatever else is asked.

    Raises `NotFoundError` for an unknown workflow or version, `InputError` with every problem of the inputs. When no
    broker answers the run stays committed, and is started when one does.
    """
    require(principal, "editor", project)
    run = _launched(session, project, idempotency_key)
    if run is None:
        chosen = usable_version(session, project, workflow, version)
        plan = load_plan(store, chosen.plan_blob)
        require_executors(plan, config)
        require_secrets(plan, config, project.name)
        require_templates(plan, config, project.name)
        refs = bind_inputs(chosen.interface, inputs or {}, input_refs or {}, options or {}, store)
        _require_own(session, store, principal, refs, input_refs or {}, origin)
        blob_access.keep_values(store, refs.values())
        require_steps(options or {}, plan.paths)
        require_limits(project, plan.limits)
        run = Run(
            id=new_run_id(),
            project_id=project.id,
            workflow_id=chosen.workflow_id,
            version_id=chosen.id,
            inputs=refs,
            options=(options or {}) | ((origin and origin.options) or {}),
            idempotency_key=idempotency_key,
            schedule_id=schedule_id,
            origin_run_id=origin.run_id if origin else None,
            origin_kind=origin.kind if origin else None,
            created_by=principal.name,
        )
        run = _commit(session, principal, project, run, workflow)
    if run.published_at is None and send_start(config.celery_broker_url, run.id):
        with writing(session):
            run.published_at = now()
    return run


def _require_own(
    session: Any, store: Store, principal: Principal, refs: Refs, given: Refs, origin: Origin | None
) -> None:
    """Refuses references to values that the caller may not read. Those of the run that it goes back to are its own."""
    earlier = session.get(Run, origin.run_id) if origin else None
    known = earlier.inputs if earlier else {}
    projects = blob_access.projects_of(principal)
    problems = [
        Problem(name, f"its blob {digest} is not in the store; put it first")
        for name in given
        if refs[name] != known.get(name)
        for digest in sorted(blob_access.foreign(session, projects, store, [refs[name]]))
    ]
    if problems:
        raise InputError("the run cannot start", problems)


def _commit(session: Any, principal: Principal, project: Project, run: Run, workflow: str) -> Run:
    """The committed run: another one, when somebody launched with the same idempotency key in between."""
    key = run.idempotency_key
    try:
        with writing(session):
            session.add(run)
            session.flush()
            session.add_all(inputs_of(run))
            blob_access.note(session, run.project_id, chain.from_iterable(map(blobs_of, run.inputs.values())))
            record(session, principal, "run.launch", project, run.id, workflow=workflow, **_origin(run))
    except IntegrityError:
        first = _launched(session, project, key)
        if first is None:
            raise
        return first
    return run


def inputs_of(run: Run) -> list[RunInput]:
    """The rows by which lineage finds the runs that were launched with a value."""
    telling = {name: ref["digest"] for name, ref in run.inputs.items() if is_telling(ref)}
    return [
        RunInput(run_id=run.id, name=name, project_id=run.project_id, digest=digest) for name, digest in telling.items()
    ]


def _origin(run: Run) -> dict[str, str]:
    return {str(run.origin_kind): run.origin_run_id} if run.origin_run_id else {}


def _launched(session: Any, project: Project, idempotency_key: str | None) -> Run | None:
    if idempotency_key is None:
        return None
    query = select(Run).where(Run.project_id == project.id, Run.idempotency_key == idempotency_key)
    run: Run | None = session.scalars(query).one_or_none()
    return run
