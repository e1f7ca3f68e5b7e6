"""The rows of one run as a document and back, for exports: one short description instead of one for each table.

A column that another release does not know is left out; what is of another type than its column is refused.
"""

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Table, select

from app.db import Base, UtcDateTime
from app.models import Artifact, Attempt, Lineage, Metric, Run, Step
from app.models.columns import now
from app.services.moments import iso
from app.services.session import Session
from celesta.errors import Problem

TABLES: dict[str, type[Base]] = {
    "steps": Step,
    "attempts": Attempt,
    "artifacts": Artifact,
    "lineage": Lineage,
    "metrics": Metric,
}
OWN = frozenset(("id", "run_id", "project_id"))
"""Columns that say which run of which database a row is of."""
RUN = (
    "status", "inputs", "outputs", "options", "error", "total", "succeeded", "cached", "failed", "skipped", "cancelled",
    "created_at", "started_at", "finished_at", "recorded_at",
)  # fmt: skip
MOST_PROBLEMS = 20
Document = dict[str, Any]


def rows_of(session: Session, run: Run) -> dict[str, list[Document]]:
    """The rows of each table, as JSON."""
    found = {}
    for name, model in TABLES.items():
        table = _table(model)
        columns = [column for column in table.columns if column.name not in OWN]
        query = select(*columns).where(table.c.run_id == run.id)
        rows = session.execute(query.order_by(*(column for column in table.primary_key if column.name not in OWN)))
        found[name] = [{key: _plain(value) for key, value in row._mapping.items()} for row in rows]
    return found


def run_of(run: Run) -> Document:
    return {name: _plain(getattr(run, name)) for name in RUN}


def read(model: type[Base], document: Any, where: str, problems: list[Problem], only: Iterable[str] = ()) -> Document:
    """The columns of a row; what is wrong is added to `problems`. No moment is later than now."""
    if not isinstance(document, dict):
        problems.append(Problem(where, "is no JSON object"))
        return {}
    row = {}
    for column in _table(model).columns:
        if column.name in OWN or (only and column.name not in only):
            continue
        value = document.get(column.name)
        wanted = datetime if isinstance(column.type, UtcDateTime) else column.type.python_type
        try:
            row[column.name] = _read(value, wanted, bool(column.nullable) or column.default is not None)
        except ValueError as error:
            if len(problems) < MOST_PROBLEMS:
                problems.append(Problem(f"{where}.{column.name}", str(error)))
    return row


def _read(value: Any, wanted: type, may_miss: bool) -> Any:
    if value is None:
        if not may_miss:
            raise ValueError("is missing")
        return None
    if wanted is datetime:
        return _moment(value)
    if wanted is float and isinstance(value, int) and abs(value) < 2**63 and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise ValueError(f"wants a {wanted.__name__}, not {type(value).__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("is no finite number")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("is too large")
    return value


def _moment(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
        in_utc = moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("is no moment in time") from None
    if moment.tzinfo is None:
        raise ValueError("is a moment without its time zone")
    return min(in_utc, now())


def _plain(value: Any) -> Any:
    return iso(value) if isinstance(value, datetime) else value


def _table(model: type[Base]) -> Table:
    table = model.__table__
    assert isinstance(table, Table)
    return table
