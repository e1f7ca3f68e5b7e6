"""Events in, rows out: what the engine said, folded into what the database keeps. Pure.

`app.services.event_record` loads the facts about the runs and writes the rows. The rules make a replay of any suffix
harmless: what is terminal is final, what a run's older epoch said is dropped, and a run that ended is left alone.
"""

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from app.models import INSIDE, RUN_TERMINAL, STEP_TERMINAL
from celesta.tokens import number_of

log = logging.getLogger(__name__)

Row = dict[str, Any]
Event = Mapping[str, Any]
Key = tuple[str, ...]


@dataclass
class RunFacts:
    """What the fold has to know of a run; `tasks` names the task of each step by its index in the plan."""

    project_id: int
    status: str
    epoch: int
    tasks: Sequence[str]


@dataclass
class Rows:
    """Rows by table and primary key; None in a column means "as it was"."""

    runs: dict[str, Row] = field(default_factory=dict)
    steps: dict[Key, Row] = field(default_factory=dict)
    attempts: dict[Key, Row] = field(default_factory=dict)
    left: dict[Key, Row] = field(default_factory=dict)
    """What becomes of attempts that steps left behind, where they are known and have not ended."""
    artifacts: dict[Key, Row] = field(default_factory=dict)
    lineage: dict[Key, Row] = field(default_factory=dict)
    metrics: dict[Key, Row] = field(default_factory=dict)
    cache_entries: dict[Key, Row] = field(default_factory=dict)


def fold(events: Iterable[Event], facts: Mapping[str, RunFacts]) -> Rows:
    """The rows that these events make. An event that cannot be read is logged and left out: it must not stop others."""
    rows = Rows()
    for event in events:
        run = facts.get(event.get("run", ""))
        handle = HANDLERS.get(event.get("kind", ""))
        if run is None or handle is None or run.status in RUN_TERMINAL or event.get("epoch", run.epoch) < run.epoch:
            continue
        try:
            handle(rows, run, event)
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError, IndexError):
            log.exception("an event of run %s cannot be read and is left out: %.500s", event.get("run"), event)
    return rows


def _run_started(rows: Rows, run: RunFacts, event: Event) -> None:
    row = {"status": "running", "started_at": _moment(event["at_ms"]), "total": int(event["known"])}
    if event["run"] in rows.runs:
        del row["started_at"]  # started again, by a rebuild
    _merge(rows.runs, event["run"], row)


def _run_finished(rows: Rows, run: RunFacts, event: Event) -> None:
    row = {
        "status": event["status"],
        "finished_at": _moment(event["at_ms"]),
        "outputs": event.get("outputs"),
        "error": event.get("error"),
        **{
            name: int(event["counts"][name])
            for name in ("total", "succeeded", "cached", "failed", "skipped", "cancelled")
        },
    }
    _merge(rows.runs, event["run"], row)


def _step_running(rows: Rows, run: RunFacts, event: Event) -> None:
    at = _moment(event["at_ms"])
    step = _step(run, event, "running") | {"attempt": event["attempt"], "token": event["token"], "started_at": at}
    _merge(rows.steps, (event["run"], event["node"]), step)
    attempt = _attempt(event, "running") | {"worker": _clean(event.get("worker")), "started_at": at}
    _merge(rows.attempts, (event["run"], event["node"], event["token"]), attempt)


def _step_retry(rows: Rows, run: RunFacts, event: Event) -> None:
    attempted = {"attempt": number_of(event["token"]), "token": event["token"]}
    step = _step(run, event, "backoff") | attempted | {"retry_at": _moment(event["at_or_after_ms"])}
    _merge(rows.steps, (event["run"], event["node"]), step)
    ended = {"reason": event["reason"], "error": event.get("error"), "finished_at": _moment(event["at_ms"])}
    attempt = _attempt(event, "lost" if event["reason"] == "lost" else "failed") | ended
    _merge(rows.attempts, (event["run"], event["node"], event["token"]), attempt)


def _step_parked(rows: Rows, run: RunFacts, event: Event) -> None:
    parked = {name: _clean(event.get(name)) for name in ("waits_for", "until_ms", "message", "role", "type")}
    step = _step(run, event, "parked") | {"parked": parked, "started_at": _moment(event["at_ms"])}
    _merge(rows.steps, (event["run"], event["node"]), step)


def _map_opened(rows: Rows, run: RunFacts, event: Event) -> None:
    step = _step(run, event, "running") | {"width": event["width"], "started_at": _moment(event["at_ms"])}
    _merge(rows.steps, (event["run"], event["node"]), step)


def _dynamic_opened(rows: Rows, run: RunFacts, event: Event) -> None:
    attempted = {"attempt": event["attempt"], "token": event["token"]}
    opened = {"width": event["width"], "plan": event["plan"]}
    _merge(rows.steps, (event["run"], event["node"]), _step(run, event, "running") | attempted | opened)


def _step_settled(rows: Rows, run: RunFacts, event: Event) -> None:
    outcome: Mapping[str, Any] = event.get("outcome") or {}
    state, at = event["state"], _moment(event["at_ms"])
    outputs = outcome.get("outputs") or {}
    began, ended = (at, at) if state == "cached" else _times(outcome, at)
    step = _step(run, event, state) | {
        "attempt": event.get("attempt") or 0,
        "token": event.get("token"),
        "cache_key": event.get("cache_key"),
        "source": event.get("source"),
        "environment": _clean(outcome.get("environment")),
        "outputs": outputs or None,
        "error": outcome.get("error"),
        "input_digests": event.get("input_digests") or outcome.get("input_digests"),
        "report": bool(outcome.get("report")),
        "log_bytes": int(outcome.get("log_bytes") or 0),
        "started_at": began,
        "finished_at": ended,
    }
    _merge(rows.steps, (event["run"], event["node"]), step)
    _settle_attempt(rows, event, state, outcome, began, ended)
    _add_artifacts(rows, run, event, outputs, at)
    _add_lineage(rows, run, event, step["input_digests"] or {})
    if state == "succeeded":
        _add_metrics(rows, event, outcome.get("metrics") or ())
        _add_cache_entry(rows, run, event, outputs, at)


def _settle_attempt(
    rows: Rows, event: Event, state: str, outcome: Mapping[str, Any], began: datetime | None, ended: datetime
) -> None:
    error = outcome.get("error")
    row = {"reason": error.get("kind") if error else None, "error": error, "finished_at": ended}
    if state in ("succeeded", "failed", "cached", "cancelled") and event.get("token"):
        ran = {"worker": _clean(outcome.get("worker")), "started_at": None if state == "cached" else began}
        key = event["run"], event["node"], event["token"]
        _merge(rows.attempts, key, _attempt(event, state) | row | ran)
    if event.get("left"):
        row["state"] = state if state in ("failed", "cached") else "cancelled"
        key = event["run"], event["node"], event["left"]
        if key in rows.attempts:
            _merge(rows.attempts, key, row)
        else:
            rows.left[key] = row


def _add_artifacts(rows: Rows, run: RunFacts, event: Event, outputs: Mapping[str, Any], at: datetime) -> None:
    for name, ref in outputs.items():
        row = {
            "project_id": run.project_id,
            "path": _clean(event["path"]),
            "type": ref["type"],
            "digest": ref["digest"],
            "blob": ref.get("blob"),
            "size": ref["size"],
            "ref": ref,
            "created_at": at,
        }
        rows.artifacts.setdefault((event["run"], event["node"], name), row)


def _add_lineage(rows: Rows, run: RunFacts, event: Event, digests: Mapping[str, str]) -> None:
    for name, digest in digests.items():
        row = {"project_id": run.project_id, "digest": digest}
        rows.lineage.setdefault((event["run"], event["node"], name), row)


def _add_metrics(rows: Rows, event: Event, metrics: Sequence[Mapping[str, Any]]) -> None:
    for ordinal, metric in enumerate(metrics):
        value, step = float(metric["value"]), metric.get("step")
        row = {
            "name": _clean(metric["name"]),
            "step": None if step is None else int(step),
            "value": None if math.isnan(value) else value,
            "at": _moment(metric["at_ms"]),
        }
        rows.metrics.setdefault((event["run"], event["node"], str(ordinal)), row)


def _add_cache_entry(rows: Rows, run: RunFacts, event: Event, outputs: Mapping[str, Any], at: datetime) -> None:
    if event.get("cache_key"):
        key = str(run.project_id), event["cache_key"]
        if key in rows.cache_entries and rows.cache_entries[key]["created_at"] >= at:
            return
        rows.cache_entries[key] = {
            "task": _task(run, event),
            "run_id": event["run"],
            "path": _clean(event["path"]),
            "node": event["node"],
            "token": event["token"],
            "outputs": dict(outputs),
            "components": event.get("components"),
            "created_at": at,
            "scope": event.get("scope") or "project",
            "bytes": sum(int(ref["size"]) for ref in outputs.values()),
        }


STEP_ROW: Row = dict.fromkeys(
    (
        "token",
        "width",
        "plan",
        "parked",
        "retry_at",
        "cache_key",
        "source",
        "environment",
        "outputs",
        "error",
        "input_digests",
        "started_at",
        "finished_at",
    )
) | {"attempt": 0, "report": False, "log_bytes": 0}
ATTEMPT_ROW: Row = dict.fromkeys(("reason", "worker", "error", "started_at", "finished_at"))
HANDLERS: Mapping[str, Callable[[Rows, RunFacts, Event], None]] = {
    "run.started": _run_started,
    "run.finished": _run_finished,
    "step.running": _step_running,
    "step.retry": _step_retry,
    "step.settled": _step_settled,
    "step.parked": _step_parked,
    "map.opened": _map_opened,
    "dynamic.opened": _dynamic_opened,
}
TERMINAL = frozenset((*RUN_TERMINAL, *STEP_TERMINAL, "lost"))


def _merge(table: dict[Any, Row], key: Any, row: Row) -> None:
    """Put a row upon an earlier one by the rules of the database: terminal is final, None is "as it was", and what was
    counted of attempts is never less."""
    old = table.get(key)
    if old is None:
        table[key] = row
    elif ("status" in old and old["status"] in RUN_TERMINAL) or old.get("state") in TERMINAL:
        return
    else:
        attempt = {"attempt": max(old["attempt"], row["attempt"])} if "attempt" in row else {}
        old.update({name: value for name, value in (row | attempt).items() if value is not None})


def _step(run: RunFacts, event: Event, state: str) -> Row:
    node, below, _ = event["node"].partition("/")
    position, _, item = node.partition(".")
    return STEP_ROW | {
        "position": int(position),
        "item": INSIDE if below else int(item) if item else -1,
        "path": _clean(event["path"]),
        "task": _task(run, event),
        "state": state,
    }


def _attempt(event: Event, state: str) -> Row:
    return ATTEMPT_ROW | {"state": state}


def _task(run: RunFacts, event: Event) -> str:
    """What is no step of the run's own plan says its task itself."""
    return _clean(event["task"]) if "/" in event["node"] else run.tasks[int(event["node"].partition(".")[0])]


def _times(outcome: Mapping[str, Any], at: datetime) -> tuple[datetime | None, datetime]:
    """When the attempt's own clock says it ran; without one (a skip) there is no start."""
    timings = outcome.get("timings") or {}
    started, finished = timings.get("started_ms"), timings.get("finished_ms")
    return (_moment(started) if started else None, _moment(finished) if finished else at)


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def _clean(text: Any) -> Any:
    """Text that both databases take: PostgreSQL refuses NUL, and neither takes half a surrogate pair."""
    if not isinstance(text, str) or (text.isascii() and "\0" not in text):
        return text
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
