"""What the engine asks of the database: a run as it was committed, what of it is recorded, and its next epoch.

Called in the workers, inside `app.db.standalone`. Two things are written here: the raise of an epoch, which pins the
results that a rebuild adopts before anything of the new epoch happens, and the end of a question that timed out.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, func, select
from sqlalchemy.exc import IntegrityError

from app.db import db, writing
from app.models import RUN_TERMINAL, STEP_TERMINAL, Answer, Attempt, Project, Run, Step, Version
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
class Unfinished:
    """A run that has not ended: what was decided about it (`run`, `pause` or `cancel`), and under which epoch it is."""

    control: str
    epoch: int


@dataclass(frozen=True)
class SettledStep:
    """A step that is recorded as ended. `token` is None where no attempt was made (a hit, a skip)."""

    state: str
    token: str | None
    cache_key: str | None
    source: Document | None
    outcome: Document | None
    """The result document as far as it is recorded; None for what never ran nor hit."""
    opened: bool = False
    """Whether its attempt opened a plan."""


@dataclass(frozen=True)
class TriedStep:
    """A step with an attempt that is recorded, and without an end."""

    token: str
    """Of its last attempt."""
    over: bool
    """That one has failed, or was lost, and the next one waits."""
    used: Mapping[str, int]
    """How much of which budget of retries is spent."""
    until_ms: int
    """When the next attempt may begin; 0 while the last one is at work."""


@dataclass(frozen=True)
class GivenAnswer:
    """The answer to a question; `value` is a reference, and None when nobody answered in time."""

    value: Document | None
    by: str
    note: str


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


def unfinished() -> dict[str, Unfinished]:
    """Runs that were launched and have not ended, oldest first: what a sweeper looks after."""
    query = select(Run.id, Run.epoch, *DECISIONS).where(Run.status.not_in(RUN_TERMINAL))
    rows = db.session.execute(query.order_by(Run.created_at, Run.id))
    found = {run_id: Unfinished(_control(*decided), epoch) for run_id, epoch, *decided in rows}
    db.session.rollback()
    return found


def admission() -> tuple[dict[str, tuple[int, dict[str, int]]], dict[str, int]]:
    """The weight and the limits of each project, and the priorities of those runs that have one and have not ended."""
    projects = db.session.execute(select(Project.name, Project.weight, Project.limits)).all()
    runs = db.session.execute(select(Run.id, Run.options).where(Run.status.not_in(RUN_TERMINAL))).all()
    db.session.rollback()
    return (
        {name: (weight, limits) for name, weight, limits in projects},
        {run_id: options["priority"] for run_id, options in runs if options.get("priority")},
    )


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


def projects() -> list[str]:
    """The names of all projects."""
    names = list(db.session.scalars(select(Project.name).order_by(Project.name)))
    db.session.rollback()
    return names


def settled_steps(run_id: str) -> dict[str, SettledStep]:
    """What is recorded as ended, by node."""
    return {
        row.node: SettledStep(
            row.state, row.token, row.cache_key, row.source, _outcome(run_id, row), row.plan is not None
        )
        for row in _settled_rows(run_id)
    }


def answers(run_id: str) -> dict[str, GivenAnswer]:
    """What was answered to the questions of a run, by node."""
    rows = db.session.scalars(select(Answer).where(Answer.run_id == run_id)).all()
    found = {row.node: GivenAnswer(row.value, row.answered_by, row.note) for row in rows}
    db.session.rollback()
    return found


def parked_until(run_id: str) -> dict[str, int]:
    """When the waits of a run end that are recorded and have an end, by node, in milliseconds."""
    rows = db.session.execute(select(Step.node, Step.parked).where(Step.run_id == run_id, Step.state == "parked")).all()
    db.session.rollback()
    return {node: parked["until_ms"] for node, parked in rows if parked and parked["until_ms"] is not None}


def tried_steps(run_id: str) -> dict[str, TriedStep]:
    """What is recorded of the attempts of steps that have not ended, by node. Each that is over has spent a retry."""
    has_attempts = and_(Step.run_id == run_id, Step.state.in_(("running", "backoff")), Step.token.is_not(None))
    steps = db.session.execute(select(Step.node, Step.token, Step.state, Step.retry_at).where(has_attempts)).all()
    over = and_(Attempt.run_id == Step.run_id, Attempt.node == Step.node, Attempt.state.in_(("failed", "lost")))
    spent = select(Attempt.node, Attempt.reason, func.count()).join(Step, over).where(has_attempts)
    used: dict[str, dict[str, int]] = {row.node: {} for row in steps}
    for node, reason, number in db.session.execute(spent.group_by(Attempt.node, Attempt.reason)):
        kind = "system" if reason == "lost" else str(reason)
        used[node][kind] = used[node].get(kind, 0) + number
    db.session.rollback()
    return {row.node: _tried(row, used[row.node]) for row in steps}


def _tried(row: Any, used: Mapping[str, int]) -> TriedStep:
    over = row.state == "backoff"
    return TriedStep(row.token, over, used, milliseconds(row.retry_at if over else None) or 0)


def answered() -> list[str]:
    """Runs with an answer that the engine has not heard of, as far as is recorded."""
    query = select(Answer.run_id).join(Step, and_(Step.run_id == Answer.run_id, Step.node == Answer.node))
    found = list(db.session.scalars(query.where(Step.state == "parked").distinct()))
    db.session.rollback()
    return found


def close_questions(run_id: str, nodes: Sequence[str]) -> dict[str, GivenAnswer]:
    """Closes questions that nobody answered in time; the answers that stand now: these, or earlier ones.

    The primary key decides between a late answer and the timeout.
    """
    known = answers(run_id)
    steps = select(Step.node, Step.path).where(Step.run_id == run_id, Step.node.in_(nodes))
    paths = dict(db.session.execute(steps).tuples().all())
    db.session.rollback()
    late = [Answer(run_id=run_id, node=n, path=paths.get(n, ""), value=None) for n in nodes if n not in known]
    try:
        with writing(db.session) as session:
            session.add_all(late)
    except IntegrityError:  # somebody answered in this very moment: the next look takes up the others
        db.session.rollback()
    given = answers(run_id)
    return {node: given[node] for node in nodes if node in given}


def raise_epoch(run_id: str, epoch: int, adopted: Mapping[str, str]) -> int | None:
    """The run's next epoch after `epoch`, committed together with the results (token by node) that it takes over.

    What an earlier rebuild adopted stays adopted. None: the run has ended, or is under another epoch already, and then
    another rebuild goes on with it. Raises `NotFoundError`.
    """
    with writing(db.session) as session:
        run = session.get(Run, run_id, with_for_update=True, populate_existing=True)
        if run is None:
            raise NotFoundError(f"there is no run {run_id}")
        if run.epoch != epoch or run.status in RUN_TERMINAL:
            return None
        run.epoch += 1
        run.adopted = {**adopted, **run.adopted}
        return int(run.epoch)


def _settled_rows(run_id: str) -> Sequence[Any]:
    query = select(
        Step.node, Step.state, Step.token, Step.cache_key, Step.source, Step.outputs, Step.error, Step.input_digests,
        Step.path, Step.report, Step.log_bytes, Step.plan,
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
