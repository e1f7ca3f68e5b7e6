"""Writes what `event_fold` made of a batch of events, in bulk, within the caller's transaction.

The recorder calls it for what it reads from the streams. Owns the upserts on both databases, whose conditions are those
of the fold: terminal is final, NULL means "as it was".
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Table, and_, bindparam, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from app.models import (
    RUN_TERMINAL,
    STEP_TERMINAL,
    Artifact,
    Attempt,
    CacheEntry,
    Lineage,
    Metric,
    Project,
    Run,
    Step,
    Version,
)
from app.models.columns import now
from app.services.event_fold import Event, Key, Row, Rows, RunFacts, fold

TasksOf = Callable[[str], Sequence[str]]
"""From the digest of a plan to the name of each step's task."""


class Ended(NamedTuple):
    """A run whose end is now in the rows (durable once the caller commits)."""

    run_id: str
    project: str
    status: str
    epoch: int


def record_events(session: Any, events: Sequence[Event], tasks_of: TasksOf) -> list[Ended]:
    """Fold the events into the database and return the runs that ended by them. Events of unknown runs are ignored."""
    facts, projects = load_facts(session, {event.get("run") for event in events}, tasks_of)
    rows = fold(events, facts)
    write_rows(session, rows)
    return [
        Ended(run_id, projects[run_id], row["status"], facts[run_id].epoch)
        for run_id, row in rows.runs.items()
        if row["status"] in RUN_TERMINAL
    ]


def load_facts(session: Any, run_ids: Iterable[Any], tasks_of: TasksOf) -> tuple[dict[str, RunFacts], dict[str, str]]:
    """Facts, and the project's name, by run id."""
    wanted = [run_id for run_id in run_ids if isinstance(run_id, str)]
    query = (
        select(Run.id, Run.project_id, Run.status, Run.epoch, Version.plan_blob, Project.name)
        .join(Version, Run.version_id == Version.id)
        .join(Project, Run.project_id == Project.id)
        .where(Run.id.in_(wanted))
    )
    found = session.execute(query).all()
    facts = {
        run_id: RunFacts(project_id, status, epoch, () if status in RUN_TERMINAL else tasks_of(plan_blob))
        for run_id, project_id, status, epoch, plan_blob, _ in found
    }
    return facts, {row[0]: row[5] for row in found}


def write_rows(session: Any, rows: Rows) -> None:
    """Upsert all rows; a few statements however many rows there are."""
    dialect = session.get_bind().dialect.name
    _write(session, _upsert_steps(dialect), rows.steps, ("run_id", "node"))
    _write(session, _upsert_attempts(dialect), rows.attempts, ("run_id", "node", "token"))
    _write(session, _end_attempts(), rows.left, ("of_run", "of_node", "of_token"))
    _write(session, _add_missing(Artifact.__table__, dialect), rows.artifacts, ("run_id", "node", "name"))
    _write(session, _add_missing(Lineage.__table__, dialect), rows.lineage, ("run_id", "node", "name"))
    _write(session, _add_missing(Metric.__table__, dialect), rows.metrics, ("run_id", "node", "ordinal"), ordinal=int)
    _write(session, _replace_cache(dialect), rows.cache_entries, ("project_id", "key"), project_id=int)
    for run_id, row in rows.runs.items():
        _update_run(session, run_id, row)


def _write(
    session: Any, statement: Any, rows: Mapping[Key, Row], names: tuple[str, ...], **kinds: Callable[[str], Any]
) -> None:
    if rows:
        keys = [{name: kinds.get(name, str)(part) for name, part in zip(names, key, strict=True)} for key in rows]
        session.connection().execute(statement, [key | row for key, row in zip(keys, rows.values(), strict=True)])


def _update_run(session: Any, run_id: str, row: Row) -> None:
    """A run is never taken back from its end, its first start stays its start, and its end ends all its attempts."""
    values = {name: value for name, value in row.items() if value is not None}
    if "started_at" in values:
        values["started_at"] = func.coalesce(Run.started_at, values["started_at"])
    if row["status"] in RUN_TERMINAL:
        values["recorded_at"] = now()
        left = update(Attempt).where(Attempt.run_id == run_id, Attempt.state == "running")
        _execute(session, left.values(state="lost", reason="lost", finished_at=row["finished_at"]))
    _execute(session, update(Run).where(Run.id == run_id, Run.status.not_in(RUN_TERMINAL)).values(values))


def _execute(session: Any, statement: Any) -> None:
    session.execute(statement, execution_options={"synchronize_session": False})


def _insert(table: Any, dialect: str) -> Any:
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


@lru_cache
def _upsert_steps(dialect: str) -> Any:
    # One comparison each: NOT IN is expanded at execution, which cannot be done for many rows at once.
    return _upsert_open(Step.__table__, dialect, and_(*(Step.__table__.c.state != state for state in STEP_TERMINAL)))


@lru_cache
def _upsert_attempts(dialect: str) -> Any:
    return _upsert_open(Attempt.__table__, dialect, Attempt.__table__.c.state == "running")


def _upsert_open(table: Any, dialect: str, still_open: Any) -> Any:
    """Insert, or put new values upon a row that is not final; NULL leaves what was there. Attempts are never fewer."""
    insert = _insert(table, dialect)
    greatest = func.greatest if dialect == "postgresql" else func.max
    columns = {
        column.name: func.coalesce(insert.excluded[column.name], column)
        if column.nullable
        else insert.excluded[column.name]
        for column in table.columns
        if not column.primary_key
    }
    if "attempt" in columns:
        columns["attempt"] = greatest(insert.excluded.attempt, table.c.attempt)
    return insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=columns, where=still_open)


@lru_cache
def _end_attempts() -> Any:
    table: Any = Attempt.__table__
    key = zip((table.c.run_id, table.c.node, table.c.token), ("of_run", "of_node", "of_token"), strict=True)
    return update(table).where(table.c.state == "running", *(column == bindparam(name) for column, name in key))


@lru_cache
def _add_missing(table: Table, dialect: str) -> Any:
    """Insert what is not there; a replay finds it there."""
    return _insert(table, dialect).on_conflict_do_nothing()


@lru_cache
def _replace_cache(dialect: str) -> Any:
    """The newest result stands for a key, as in the index of Redis; one that comes again by a replay is not newer."""
    table: Any = CacheEntry.__table__
    insert = _insert(table, dialect)
    kept = ("pinned_at", "pinned_by")  # what people said of the entry holds for its newer result
    columns = {c.name: insert.excluded[c.name] for c in table.columns if not c.primary_key and c.name not in kept}
    newer = insert.excluded.created_at > table.c.created_at
    return insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=columns, where=newer)
