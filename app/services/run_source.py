"""What the engine asks of the database: a run as it was committed, what of it is recorded, and its next epoch.

Called in the workers, inside `app.db.standalone`. The only write here is the raise of an epoch, which pins the results
that a rebuild adopts before anything of the new epoch happens.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from app.db import db, writing
from app.models import RUN_TERMINAL, STEP_TERMINAL, Project, Run, Step, Version
from app.services.moments import milliseconds
from celesta.errors import NotFoundError

Document = dict[str, Any]
DECISIONS = (Run.cancel_requested_at, Run.paused_at)


@dataclass(frozen=True)
class RunSource:
    """A run as it was committed; `inputs` are references, `plan_blob` is the plan's digest in the store."""

    run_id: str
    project: str
    plan_blob: str
    inputs: Document
    options: Document
    epoch: int
    status: str
    control: str
    """What somebody decided: `run`, `pause` or `cancel`."""
    started_ms: int | None
    origin: str | None
    """The run that this one takes results over from."""
    adopted: Mapping[str, str]
    """Token by node: the results that earlier rebuilds took over. They win over any other manifest."""


@dataclass(frozen=True)
class SettledStep:
    """A step that is recorded as ended. `token` is None where no attempt was made (a hit, a skip)."""

    state: str
    token: str | None
    cache_key: str | None
    source: Document | None
    outcome: Document | None
    """The result document as far as it is recorded; None for what never ran nor hit."""


def load_run(run_id: str) -> RunSource:
    """Raises `NotFoundError`."""
    columns = Run.inputs, Run.options, Run.epoch, Run.status, Run.started_at, Run.adopted, Run.origin_run_id, *DECISIONS
    row = db.session.execute(
        select(*columns, Project.name, Version.plan_blob)
        .join(Project, Run.project_id == Project.id)
        .join(Version, Run.version_id == Version.id)
        .where(Run.id == run_id)
    ).one_or_none()
    db.session.rollback()  # ends the read, so that the next one sees what is new
    if row is None:
        raise NotFoundError(f"there is no run {run_id}")
    return RunSource(
        run_id=run_id,
        project=row.name,
        plan_blob=row.plan_blob,
        inputs=row.inputs,
        options=row.options,
        epoch=row.epoch,
        status=row.status,
        control=_control(row.cancel_requested_at, row.paused_at),
        origin=row.origin_run_id if "again" in row.options else None,
        started_ms=milliseconds(row.started_at) if row.started_at else None,
        adopted=row.adopted,
    )


def unfinished() -> dict[str, str]:
    """Runs that were launched and have not ended, oldest first: what a sweeper looks after. With what was decided."""
    query = select(Run.id, *DECISIONS).where(Run.status.not_in(RUN_TERMINAL)).order_by(Run.created_at, Run.id)
    found = {run_id: _control(*decided) for run_id, *decided in db.session.execute(query)}
    db.session.rollback()
    return found


def control_of(run_id: str) -> str:
    """What somebody decided about the run, as of now."""
    row = db.session.execute(select(*DECISIONS).where(Run.id == run_id)).one()
    db.session.rollback()
    return _control(*row)


def reusable_steps(run_id: str) -> Iterator[tuple[str, str, SettledStep]]:
    """Node, path and result of what another run may take over: what succeeded, and failed items of maps that did.

    Its source is the attempt that computed it, also when this run had it from another.
    """
    rows = _settled_rows(run_id)
    good = {row.node for row in rows if row.state in ("succeeded", "cached")}
    for row in rows:
        whole = row.node.rpartition(".")[0]
        if row.node in good or (row.state == "failed" and whole in good):
            own = {"run": run_id, "path": row.path, "node": row.node, "token": row.token}
            state = "failed" if row.state == "failed" else "cached"
            yield row.node, row.path, SettledStep(state, None, row.cache_key, row.source or own, _outcome(run_id, row))


def settled_steps(run_id: str) -> dict[str, SettledStep]:
    """What is recorded as ended, by node."""
    return {
        row.node: SettledStep(row.state, row.token, row.cache_key, row.source, _outcome(run_id, row))
        for row in _settled_rows(run_id)
    }


def raise_epoch(run_id: str, adopted: Mapping[str, str]) -> int:
    """The run's next epoch, committed together with the results (token by node) that it takes over.

    What an earlier rebuild adopted stays adopted. Raises `NotFoundError`.
    """
    with writing(db.session) as session:
        run = session.get(Run, run_id, with_for_update=True)
        if run is None:
            raise NotFoundError(f"there is no run {run_id}")
        run.epoch += 1
        run.adopted = {**adopted, **run.adopted}
        return int(run.epoch)


def _settled_rows(run_id: str) -> Sequence[Any]:
    query = select(
        Step.node, Step.state, Step.token, Step.cache_key, Step.source, Step.outputs, Step.error, Step.input_digests,
        Step.path, Step.report, Step.log_bytes,
    ).where(Step.run_id == run_id, Step.state.in_(STEP_TERMINAL))  # fmt: skip
    rows = db.session.execute(query).all()
    db.session.rollback()
    return rows


def _control(cancel_requested_at: Any, paused_at: Any) -> str:
    return "cancel" if cancel_requested_at else "pause" if paused_at else "run"


def _outcome(run_id: str, row: Any) -> Document | None:
    if row.state not in ("succeeded", "failed", "cached"):
        return None
    return {
        "result_document": 1,
        "run": run_id,
        "path": row.path,
        "node": row.node,
        "token": row.token,
        "status": "failed" if row.state == "failed" else "succeeded",
        "outputs": row.outputs or {},
        "input_digests": row.input_digests or {},
        "error": row.error,
        "metrics": [],
        "report": row.report,
        "log_bytes": row.log_bytes,
    }
