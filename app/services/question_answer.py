"""Answers a question of a run: the answer is committed, once for each question, then the engine is told to look."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app.access import Principal, require
from app.compiler.plan import Plan
from app.config import Config
from app.db import writing
from app.dispatch import send_start
from app.models import RUN_TERMINAL, Answer, Project, Run, Step
from app.services import step_query
from app.services.audit import record
from app.services.moments import iso
from celesta.codecs import from_plain, preview
from celesta.errors import ConflictError, InputError, Problem
from celesta.store import Store

QUESTIONS = ("approve", "wait_for")


def answer_question(
    session: Any,
    config: Config,
    store: Store,
    principal: Principal,
    project: Project,
    run: Run,
    plan: Plan,
    *,
    step: str,
    value: Any,
    note: str = "",
) -> Answer:
    """The answer of a step, named by its path or node. The first one counts; the engine goes on with it at once.

    Raises `NotFoundError` for a step that is not there, `InputError` for one that asks nothing or a value that does not
    fit, `AccessError` without the role that the author names, and `ConflictError` when it is answered, does not ask yet
    or asks no longer. When no broker answers the answer is kept, and the reconciler passes it on.
    """
    found = step_query.get(session, run, plan, step)
    asked = found.parked or {}
    if asked.get("waits_for", plan.waits(found.position)) not in QUESTIONS:
        raise InputError([Problem("step", f'"{found.path}" asks nothing; {_asking(session, run)}')])
    _require_asking(session, run, found)
    require(principal, asked["role"], project)
    ref = from_plain(value, asked["type"], store, "value")
    given = Answer(run_id=run.id, node=found.node, path=found.path, value=ref, note=note, answered_by=principal.name)
    told = {"step": found.path, "value": preview(ref), "note": note}
    try:
        with writing(session):
            session.add(given)
            record(session, principal, "run.answer", project, run.id, **told)
    except IntegrityError:  # somebody answered in this very moment
        session.rollback()
        _require_asking(session, run, found)
        raise
    send_start(config.celery_broker_url, run.id)
    return given


def _require_asking(session: Any, run: Run, step: Step) -> None:
    earlier = session.scalar(select(Answer).where(Answer.run_id == run.id, Answer.node == step.node))
    if earlier is not None and earlier.value is None:
        raise ConflictError(f'"{step.path}" of run {run.id} timed out at {iso(earlier.answered_at)}')
    if earlier is not None:
        who = f"{earlier.answered_by} at {iso(earlier.answered_at)}"
        raise ConflictError(f'"{step.path}" of run {run.id} was answered already, by {who}: {preview(earlier.value)}')
    if run.status in RUN_TERMINAL or run.cancel_requested_at is not None:
        raise ConflictError(f'"{step.path}" asks no longer: the run {run.id} has ended or is being cancelled')
    if step.state != "parked":
        told = "its upstream steps have not ended" if step.state == "waiting" else f"it is {step.state}"
        raise ConflictError(f'"{step.path}" of run {run.id} does not ask now: {told}')


def _asking(session: Any, run: Run) -> str:
    query = select(Step.path).where(Step.run_id == run.id, Step.state == "parked", Step.parked.is_not(None))
    paths = list(session.scalars(query.order_by(Step.position).limit(5)))
    return f"what waits in this run is: {', '.join(paths)}" if paths else "nothing in this run waits for an answer"
