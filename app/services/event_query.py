"""Tells a run's past as the events that made it, from the record: for followers who come late or were cut off.

Called by `app.api.streams`. Events are idempotent, so whoever hears one again is not misled. Writes nothing.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import select, tuple_

from app.models import RUN_TERMINAL, Run, Step, StreamOffset
from app.redis_client import stream_order
from app.services.moments import milliseconds
from app.services.run_query import COUNTS
from app.services.session import Session

CHUNK = 500
Document = dict[str, Any]


def recorded_until(session: Session) -> str:
    """The stream id up to which the record holds everything; of several shards the earliest."""
    offsets = list(session.scalars(select(StreamOffset.stream_id)))
    return min(offsets, key=stream_order, default="0-0")


def replay(session: Session, run: Run, project: str, since: datetime | None = None) -> Iterator[list[Document]]:
    """The events of what is recorded, in chunks; with `since` the steps that changed after that moment."""
    common = {"run": run.id, "project": project, "epoch": run.epoch}
    if run.started_at:
        yield [{"kind": "run.started", **common, "at_ms": milliseconds(run.started_at), "known": run.total}]
    after = (-1, -2, "")
    while True:
        query = select(Step).where(Step.run_id == run.id, tuple_(Step.position, Step.item, Step.node) > after)
        if since:
            query = query.where(Step.finished_at.is_(None) | (Step.finished_at >= since))
        steps = session.scalars(query.order_by(Step.position, Step.item, Step.node).limit(CHUNK)).all()
        if not steps:
            break
        yield [common | event for step in steps for event in _of_step(step)]
        after = (steps[-1].position, steps[-1].item, steps[-1].node)
    if run.status in RUN_TERMINAL:
        yield [common | event for event in end_of(run)]


def end_of(run: Run) -> list[Document]:
    counts = {name: getattr(run, name) for name in COUNTS}
    end = {"at_ms": milliseconds(run.finished_at), "status": run.status}
    finished = {"kind": "run.finished", **end, "outputs": run.outputs or {}, "error": run.error, "counts": counts}
    return [finished, {"kind": "run.recorded", **end}] if run.recorded_at else [finished]


def _of_step(step: Step) -> Iterator[Document]:
    who = {"node": step.node, "path": step.path, "token": step.token, "attempt": step.attempt}
    if "/" in step.node:
        who["task"] = step.task
    if step.plan is not None:
        opened = {"at_ms": milliseconds(step.started_at), "width": step.width, "plan": step.plan}
        yield {"kind": "dynamic.opened", **who, **opened}
    elif step.width is not None:
        yield {"kind": "map.opened", "at_ms": milliseconds(step.started_at), **who, "width": step.width}
    if step.state == "running":
        yield {"kind": "step.running", "at_ms": milliseconds(step.started_at), **who}
    elif step.state == "parked":
        yield {"kind": "step.parked", "at_ms": milliseconds(step.started_at), **who, **(step.parked or {})}
    elif step.finished_at or step.state not in ("waiting", "backoff"):
        yield {
            "kind": "step.settled",
            "at_ms": milliseconds(step.finished_at),
            **who,
            "state": step.state,
            "outcome": _outcome(step) if step.state in ("succeeded", "failed", "cached") else None,
            "cache_key": step.cache_key,
            "source": step.source,
            "input_digests": step.input_digests,
        }


def _outcome(step: Step) -> Document:
    return {
        "status": "failed" if step.state == "failed" else "succeeded",
        "outputs": step.outputs or {},
        "error": step.error,
        "report": step.report,
        "log_bytes": step.log_bytes,
        "timings": {"started_ms": milliseconds(step.started_at), "finished_ms": milliseconds(step.finished_at)},
    }
