"""Reads the steps of a run for the REST API and the dashboard: pages in plan order, one step, the colours of a graph.

A step has a row once something happened to it; those of a running run that still wait are added from the plan.
Writes nothing. Six statements for a page of any size.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, or_, select, tuple_
from sqlalchemy.orm.attributes import set_committed_value

from app.compiler.plan import Plan
from app.models import INSIDE, Answer, Attempt, Metric, Run, Step
from app.services.moments import iso, milliseconds, seconds_between
from app.services.paging import Page, decode, page_of
from app.services.session import Session
from app.services.step_inputs import StepInputs, told
from app.services.step_unrecorded import unrecorded, waiting_step
from app.services.workflow_query import load_plan
from celesta.codecs import shown
from celesta.errors import NotFoundError
from celesta.store import Store, step_prefix

Document = dict[str, Any]
LOG_BYTES = 1 << 20
NodeKey = tuple[str, str]


def page(
    session: Session,
    run: Run,
    plan: Plan,
    *,
    state: str = "",
    path: str = "",
    parent: str = "",
    cursor: str = "",
    limit: int = 50,
) -> Page[Step]:
    """Steps in plan order, a map before its items. `path` is a part of a path; `parent` lists what is
    counted into one step: the items of a map, the steps of a plan that was opened."""
    after = decode(cursor, int, int, str) if cursor else (-1, -1, "")
    query = select(Step).where(Step.run_id == run.id, tuple_(Step.position, Step.item, Step.node) > after)
    if state:
        query = query.where(Step.state == state)
    if path:
        query = query.where(Step.path.contains(path, autoescape=True))
    if parent:
        parts = (Step.node.startswith(f"{parent}{sign}", autoescape=True) for sign in "./")
        query = query.where(or_(*parts))
    rows = list(session.scalars(query.order_by(Step.position, Step.item, Step.node).limit(limit + 1)))
    if run.finished_at is None and state in ("", "waiting") and not parent:
        # Without a filter each position gives at least one entry, so that a page cannot reach further than this.
        end = len(plan) if state or path else min(len(plan), after[0] + limit + 2)
        rows = sorted([*rows, *_waiting(session, run, plan, path, after, end)], key=_place)
    return page_of(rows, limit, _place)


def _place(step: Step) -> tuple[int, int, str]:
    return step.position, step.item, step.node


def _waiting(session: Session, run: Run, plan: Plan, path: str, after: tuple[Any, ...], end: int) -> list[Step]:
    """Rows that nobody has written yet: they are made for showing only, and no session knows them."""
    query = select(Step.position).where(Step.run_id == run.id, Step.item == -1)
    known = set(session.scalars(query.where(Step.position >= after[0], Step.position < end)))
    return [
        waiting_step(run, plan, index)
        for index in range(max(after[0], 0), end)
        if index not in known and (index, -1, str(index)) > after and path in plan.steps[index]["path"]
    ]


def get(session: Session, run: Run, plan: Plan, node: str, store: Store | None = None) -> Step:
    """The step of a node (`7`, `7.3`) or of a path (`train[3]`); raises `NotFoundError`. With a store also one that
    waits inside of what a dynamic step opened."""
    step = session.scalar(
        select(Step).where(Step.run_id == run.id, (Step.node == node) | (Step.path == node)).order_by(Step.node != node)
    )
    step = step or unrecorded(session, run, plan, node, store)
    if step is None:
        raise NotFoundError(f'the run {run.id} has no step "{node}"; see: celesta runs show {run.id}')
    return step


def task_of(session: Session, run: Run, plan: Plan, step: Step, store: Store) -> Document:
    """The task of a step, also of one in a plan that a dynamic step opened."""
    opener, _, local = step.node.rpartition("/")
    if not opener:
        return plan.task(step.position)
    digest = session.scalar(select(Step.plan).where(Step.run_id == run.id, Step.node == opener))
    if digest is None:
        raise NotFoundError(f"the plan of {step.path} is not recorded yet; load it again")
    return load_plan(store, digest).task(int(local.partition(".")[0]))


def plan_of(session: Session, run: Run, name: str) -> str:
    """The digest of the plan that the step of this node or path has opened. Raises `NotFoundError`."""
    query = select(Step.plan).where(Step.run_id == run.id, (Step.node == name) | (Step.path == name))
    digest: str | None = session.scalar(query.where(Step.plan.is_not(None)))
    if digest is None:
        raise NotFoundError(f'the run {run.id} has no step "{name}" that opened a plan')
    return digest


def states(session: Session, run: Run) -> dict[str, Document]:
    """For each step of the plan that has a row: its state and, for a map, a note on its items."""
    found: dict[str, Document] = {}
    for position, state in session.execute(
        select(Step.position, Step.state).where(Step.run_id == run.id, Step.item == -1)
    ):
        found[str(position)] = {"state": state}
    items: dict[int, dict[str, int]] = defaultdict(dict)
    grouped = (
        select(Step.position, Step.state, func.count())
        .where(Step.run_id == run.id, Step.item >= 0, Step.item < INSIDE)
        .group_by(Step.position, Step.state)
    )
    for position, state, number in session.execute(grouped):
        items[position][state] = number
    widths = select(Step.position, Step.width).where(
        Step.run_id == run.id, Step.item == -1, Step.width.is_not(None), Step.plan.is_(None)
    )
    for position, width in session.execute(widths):
        counts = items[position]
        done = sum(
            number for state, number in counts.items() if state not in ("waiting", "running", "backoff", "parked")
        )
        failed = f", {counts['failed']} failed" if counts.get("failed") else ""
        found[str(position)] |= {"width": width, "done": done, "note": f"{done} of {width} items{failed}"}
    return found


def states_inside(session: Session, run: Run, opener: str) -> dict[str, Document]:
    """As `states`, for the plan that a dynamic step opened."""
    found: dict[str, Document] = {}
    query = select(Step.node, Step.state, Step.width).where(Step.run_id == run.id, Step.item == INSIDE)
    for node, state, width in session.execute(query.where(Step.node.startswith(f"{opener}/", autoescape=True))):
        local = node.removeprefix(f"{opener}/")
        if local.isdigit():
            found[local] = {"state": state} | ({} if width is None else {"note": f"{width} inside"})
    return found


def source(step: Step) -> tuple[str, str, str, str]:
    """Run, node, path and token of the attempt whose log, report and metrics this step shows (a hit: another run's)."""
    if step.source:
        return step.source["run"], step.source["node"], step.source["path"], step.source["token"]
    return step.run_id, step.node, step.path, step.token or ""


def show_evidence(session: Session, steps: Iterable[Step]) -> None:
    """Gives cache hits the log and report of the step that answered them. Nothing of this is ever written."""
    hits = [step for step in steps if step.source]
    if not hits:
        return
    query = select(Step.run_id, Step.node, Step.report, Step.log_bytes)
    query = query.where(tuple_(Step.run_id, Step.node).in_([source(step)[:2] for step in hits]))
    found = {(run, node): (report, log_bytes) for run, node, report, log_bytes in session.execute(query)}
    for step in hits:
        report, log_bytes = found.get(source(step)[:2], (False, 0))
        set_committed_value(step, "report", report)
        set_committed_value(step, "log_bytes", log_bytes)


def attempt_prefix(step: Step, token: str = "") -> str | None:
    """Where the attempt's objects are in the store; None before the first attempt."""
    run_id, _, path, last = source(step)
    return step_prefix(run_id, path, token or last) if token or last else None


def read_log(step: Step, store: Store, token: str = "", offset: int = 0, limit: int = LOG_BYTES) -> bytes:
    """A part of the log in the store; empty when there is none (yet)."""
    prefix = attempt_prefix(step, token)
    stream = store.open(f"{prefix}log.txt") if prefix else None
    if stream is None:
        return b""
    with stream:
        if stream.seekable():
            stream.seek(offset)
        else:
            stream.read(offset)
        return stream.read(limit)


def documents(
    session: Session, run: Run, plan: Plan, steps: Sequence[Step], store: Store | None = None
) -> list[Document]:
    """Step documents. Without a store large values are told by type, digest and size."""
    metrics = _metrics(session, {source(step)[:2] for step in steps})
    show_evidence(session, steps)
    attempts = _attempts(session, run, [step.node for step in steps])
    inputs = StepInputs(session, run, plan, steps, store)
    answers = _answers(session, run, store) if any(step.parked for step in steps) else {}
    return [
        _document(
            step,
            metrics.get(source(step)[:2], []),
            attempts.get(step.node, []),
            inputs.of(step),
            answers.get(step.node),
            store,
        )
        for step in steps
    ]


def _document(
    step: Step,
    metrics: list[Document],
    attempts: list[Document],
    inputs: Document,
    answer: Document | None,
    store: Store | None,
) -> Document:
    return {
        "node": step.node,
        "path": step.path,
        "task": step.task,
        "state": step.state,
        "attempt": step.attempt,
        "started_at": iso(step.started_at),
        "finished_at": iso(step.finished_at),
        "duration_seconds": seconds_between(step.started_at, step.finished_at),
        "inputs": inputs,
        "outputs": {name: told(ref) | {"plain": shown(ref, store)} for name, ref in (step.outputs or {}).items()},
        "error": step.error,
        "metrics": metrics,
        "cache": {"key": step.cache_key, "hit": step.state == "cached", "source": step.source},
        "log_bytes": step.log_bytes,
        "report": step.report,
        "environment": step.environment,
        "attempts": attempts,
        "width": step.width,
        "plan": step.plan,
        "parked": parked_document(step),
        "answer": answer,
    }


def parked_document(step: Step) -> Document | None:
    """What a step waits for that keeps no worker; None for any other."""
    if step.state != "parked" or step.parked is None:
        return None
    until_ms = step.parked["until_ms"]
    until = None if until_ms is None else iso(datetime.fromtimestamp(until_ms / 1000, UTC))
    return {**{name: step.parked[name] for name in ("waits_for", "message", "role", "type")}, "until": until}


def questions(session: Session, run: Run, limit: int = 10) -> list[Document]:
    """What a run asks now, in the order of the plan."""
    query = select(Step).where(Step.run_id == run.id, Step.state == "parked").order_by(Step.position).limit(limit)
    asked = [(step, parked_document(step)) for step in session.scalars(query)]
    return [{"node": s.node, "path": s.path, **told} for s, told in asked if told and told["waits_for"] != "sleep"]


def row(step: Step) -> Document:
    """What a table tells of a step, without another statement."""
    return {
        "node": step.node,
        "path": step.path,
        "task": step.task,
        "state": step.state,
        "attempt": step.attempt,
        "width": step.width,
        "plan": step.plan,
        "source": step.source,
        "started_at": iso(step.started_at),
        "finished_at": iso(step.finished_at),
        "duration_seconds": seconds_between(step.started_at, step.finished_at),
    }


def _metrics(session: Session, keys: Iterable[NodeKey]) -> dict[NodeKey, list[Document]]:
    found: dict[NodeKey, list[Document]] = defaultdict(list)
    query = select(Metric).where(tuple_(Metric.run_id, Metric.node).in_(list(keys)))
    for metric in session.scalars(query.order_by(Metric.run_id, Metric.node, Metric.ordinal)):
        document = {"name": metric.name, "value": metric.value, "step": metric.step, "at_ms": milliseconds(metric.at)}
        found[metric.run_id, metric.node].append(document)
    return found


def _answers(session: Session, run: Run, store: Store | None) -> dict[str, Document]:
    return {
        answer.node: answer_document(answer, store)
        for answer in session.scalars(select(Answer).where(Answer.run_id == run.id))
    }


def answer_document(answer: Answer, store: Store | None = None) -> dict[str, Any]:
    """What was answered, by whom; `value` is null and nobody is named when the time ran out."""
    return {
        "step": answer.path,
        "value": None if answer.value is None else shown(answer.value, store),
        "timed_out": answer.value is None,
        "note": answer.note,
        "answered_by": answer.answered_by,
        "answered_at": iso(answer.answered_at),
    }


def _attempts(session: Session, run: Run, nodes: list[str]) -> dict[str, list[Document]]:
    found: dict[str, list[Document]] = defaultdict(list)
    query = select(Attempt).where(Attempt.run_id == run.id, Attempt.node.in_(nodes))
    for attempt in sorted(session.scalars(query), key=lambda attempt: _token_order(attempt.token)):
        document = {
            "token": attempt.token,
            "state": attempt.state,
            "reason": attempt.reason,
            "worker": attempt.worker,
            "error": attempt.error,
            "started_at": iso(attempt.started_at),
            "finished_at": iso(attempt.finished_at),
            "duration_seconds": seconds_between(attempt.started_at, attempt.finished_at),
        }
        found[attempt.node].append(document)
    return found


def _token_order(token: str) -> tuple[int, ...]:
    return tuple(int(part) for part in token.split(".") if part.isdigit())
