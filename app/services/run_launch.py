"""Launches a run: its row is committed, then the engine is told. A launch takes a few milliseconds."""

from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app.access import Principal, require
from app.config import Config
from app.db import writing
from app.dispatch import send_start
from app.models import Project, Run, RunInput, Version
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
from celesta.errors import ConflictError, InputError, Problem
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
    """The run, queued. The same idempotency key gives the same run.

    Raises `NotFoundError` for an unknown workflow or version, `InputError` with every problem of the inputs, and
    `ConflictError` for a key that came with something else before. When no broker answers the run stays committed, and
    is started when one does.
    """
    require(principal, "editor", project)
    first = _launched(session, project, idempotency_key)
    chosen = usable_version(session, project, workflow, version)
    if first is not None and version is None and first.workflow_id == chosen.workflow_id:
        chosen = first.version  # another one may have become the active one since
    refs = bind_inputs(chosen.interface, inputs or {}, input_refs or {}, options or {}, store)
    asked = Run(
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
    if first is None:
        _require_own(session, store, principal, refs, input_refs or {}, origin)
        _require_able(config, store, project, chosen, options or {})
        blob_access.keep_values(store, refs.values())
        first = _commit(session, principal, project, asked, workflow)
    _require_same(first, asked)
    if first.published_at is None and send_start(config.celery_broker_url, first.id):
        with writing(session):
            first.published_at = now()
    return first


def _require_able(config: Config, store: Store, project: Project, version: Version, options: dict[str, Any]) -> None:
    """Refuses a version whose steps could not run here, and options for steps that it does not have."""
    plan = load_plan(store, version.plan_blob)
    require_executors(plan, config)
    require_secrets(plan, config, project.name)
    require_templates(plan, config, project.name)
    require_steps(options, plan.paths)
    require_limits(project, plan.limits)


def _require_same(first: Run, asked: Run) -> None:
    """Refuses a key that came with something else before. That of a schedule names one fire, and nothing else."""
    differ = () if first is asked or asked.schedule_id is not None else tuple(_differences(first, asked))
    if differ:
        raise ConflictError(
            f'run {first.id} was launched with the idempotency key "{first.idempotency_key}" and another '
            f"{', '.join(differ)}; give a new key (a form has one when it is loaded again), or ask for the same"
        )


def _differences(first: Run, asked: Run) -> Iterator[str]:
    if (first.workflow_id, first.version_id) != (asked.workflow_id, asked.version_id):
        yield "version"
        return
    yield from (
        f"input {name}"
        for name, ref in asked.inputs.items()
        if ref["digest"] != first.inputs.get(name, {}).get("digest")
    )
    if any(first.options.get(name, False) != asked.options.get(name, False) for name in first.options | asked.options):
        yield "option"
    if (first.origin_run_id, first.origin_kind) != (asked.origin_run_id, asked.origin_kind):
        yield "run to go back to"


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
