"""Several runs side by side: a table of their parameters and metrics, and metrics over steps as series.

A column is an input (`lr`), a metric of a step (`evaluate.accuracy`) or an output that is a number, a text or a truth
value. Called by `app.api` and `app.web`. Writes nothing.
"""

import difflib
from collections.abc import Iterable
from typing import Any

from app.models import Project, Run
from app.services import metric_query, run_query
from app.services.moments import iso, seconds_between
from app.services.session import Session
from celesta.codecs import preview, shown
from celesta.errors import InputError, Problem

MOST_RUNS = 50
MOST_COLUMNS = 200
MOST_SERIES = 200
SIDES = ("inputs", "metrics", "outputs")
Document = dict[str, Any]


def find(session: Session, project: Project, run_ids: Iterable[str]) -> list[Run]:
    """The runs in the order in which they were asked for, each once. Raises `InputError` or `NotFoundError`."""
    wanted = list(dict.fromkeys(run_ids))
    if not 1 <= len(wanted) <= MOST_RUNS:
        raise InputError([Problem("run", f"give between 1 and {MOST_RUNS} runs to compare, not {len(wanted)}")])
    return [run_query.get(session, project, run_id) for run_id in wanted]


def compare(session: Session, runs: list[Run], sort: str = "", descending: bool = False) -> Document:
    """Columns and rows; sorted by a column, rows without it last. Raises `InputError` for an unknown column."""
    rows = [_row(session, run) for run in runs]
    columns: Document = {side: _columns(rows, side) for side in SIDES}
    if sort:
        side, name = _column(columns, sort)
        present = [row for row in rows if row[side].get(name) is not None]
        rest = [row for row in rows if row[side].get(name) is None]
        rows = sorted(present, key=lambda row: _order(row[side][name]), reverse=descending) + rest
    return {"columns": columns, "runs": rows}


def series(session: Session, runs: list[Run], metric: str) -> Document:
    """The values of one metric over its steps: a series for each step of each run that logged it by steps.

    `metric` is the name of a metric, or `path.name` for that of one step.
    """
    parts = metric.split(".")
    names = tuple(".".join(parts[start:]) for start in range(len(parts)))
    found = all_series(session, runs, names)
    fit = [one for name, members in found.items() for one in members if metric in (name, f"{one['path']}.{name}")]
    return {"series": fit[:MOST_SERIES], "series_left_out": len(fit[MOST_SERIES:])}


def all_series(session: Session, runs: list[Run], names: tuple[str, ...] = ()) -> dict[str, list[Document]]:
    """The series of every metric that was logged by steps, or of these, by name. Of a long one as much as can be seen;
    when there are too many, those of the first runs."""
    found: dict[str, list[Document]] = {}
    count = 0
    for run in runs:
        for (name, path), points in metric_query.series(session, run, names).items():
            told = [(point.step, point.value) for point in points]
            left_out = points[0].of - len(points)
            one = {"run_id": run.id, "path": path, "points": told, "points_left_out": left_out}
            found.setdefault(name, []).append(one)
            count += 1
        if count > MOST_SERIES:
            break
    return found


def _row(session: Session, run: Run) -> Document:
    measured = metric_query.last_values(session, run)
    return {
        "run_id": run.id,
        "workflow": run.workflow_name,
        "version": run.version.digest,
        "status": run.status,
        "created_by": run.created_by,
        "created_at": iso(run.created_at),
        "duration_seconds": seconds_between(run.created_at, run.recorded_at),
        "inputs": {name: _cell(ref) for name, ref in (run.inputs or {}).items()},
        "metrics": {f"{path}.{name}": value for path, values in measured.items() for name, value in values.items()},
        "outputs": {name: shown(ref) for name, ref in (run.outputs or {}).items() if _is_scalar(shown(ref))},
    }


def _cell(ref: Document) -> Any:
    """A scalar is itself; what is larger is told in a line."""
    plain = shown(ref)
    return plain if _is_scalar(plain) else preview(ref)


def _is_scalar(plain: Any) -> bool:
    return plain is None or isinstance(plain, str | int | float | bool)


def _columns(rows: list[Document], side: str) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row[side]))[:MOST_COLUMNS]


def _column(columns: Document, name: str) -> tuple[str, str]:
    """The side and full name of a column; `accuracy` may stand for the only one that ends so."""
    exact = [(side, known) for side in SIDES for known in columns[side] if known == name]
    fits = exact or [(side, known) for side in SIDES for known in columns[side] if known.endswith(f".{name}")]
    if len(fits) == 1 or exact:
        return fits[0]
    every = [known for side in SIDES for known in columns[side]]
    if fits:
        raise InputError(
            [Problem("sort", f'"{name}" may be {_listed(known for _, known in fits)}; give the whole name')]
        )
    near = difflib.get_close_matches(name, every, 3, 0.4)
    raise InputError(
        [Problem("sort", f'there is no column "{name}"; there are {_listed(near or every[:20]) or "none"}')]
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _order(value: Any) -> tuple[bool, float, str]:
    """Numbers before texts: a column may hold both."""
    is_number = isinstance(value, int | float)
    return not is_number, float(value) if is_number else 0.0, "" if is_number else str(value)
