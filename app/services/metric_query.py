"""What the steps of a whole run measured. A step that the cache answered has the metrics of the step that answered it.

Called by `run_diff`, `run_compare` and whatever else tells of whole runs. Two statements for a run, and one more for
every 500 hits. Which measurements are wanted is said to the database: a training may have logged millions, of which a
table wants the last and a drawing as many as can be seen. Writes nothing.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import and_, bindparam, func, select, tuple_

from app.models import Metric, Run, Step
from app.services.session import Session

CHUNK = 500
MOST_POINTS = 2_000
"""Points in a series; of more, every second one or less is kept."""
MOST_SERIES = 200
"""Series of one run."""
NodeKey = tuple[str, str]
Kept = Callable[[Any], Any]
"""Of the measurements under a condition those that are wanted, as a selection."""


class Point(NamedTuple):
    """One measurement; `step` is what its author counts by (epochs, folds), None when nothing was said."""

    path: str
    name: str
    step: int | None
    value: float | None
    of: int = 1
    """How many its series has, where some are left out."""


def of_run(session: Session, run: Run) -> list[Point]:
    """Every measurement of a run, by step of the plan in the order in which they were logged."""
    return _points(session, run, _every)


def last_values(session: Session, run: Run) -> dict[str, dict[str, float | None]]:
    """By path and name the value that was logged last."""
    found: dict[str, dict[str, float | None]] = defaultdict(dict)
    for point in _points(session, run, _last):
        found[point.path][point.name] = point.value
    return found


def series(session: Session, run: Run, names: tuple[str, ...] = ()) -> dict[tuple[str, str], list[Point]]:
    """By name and path what was logged with a step, of all names or these; bounded in number and length."""
    found: dict[tuple[str, str], list[Point]] = defaultdict(list)
    for point in _points(session, run, _thinned, names):
        found[point.name, point.path].append(point)
    return found


COLUMNS: tuple[Any, ...] = Metric.run_id, Metric.node, Metric.ordinal, Metric.name, Metric.step, Metric.value
OF_SERIES: dict[str, Any] = {"partition_by": (Metric.run_id, Metric.node, Metric.name)}


def _every(condition: Any) -> Any:
    return select(*COLUMNS).where(condition).subquery()


def _last(condition: Any) -> Any:
    behind = func.row_number().over(**OF_SERIES, order_by=Metric.ordinal.desc()).label("behind")
    ranked = select(*COLUMNS, behind).where(condition).subquery()
    return select(ranked).where(ranked.c.behind == 1).subquery()


def _thinned(condition: Any) -> Any:
    """The last point is always among them."""
    number = func.dense_rank().over(order_by=(Metric.run_id, Metric.node, Metric.name)).label("number")
    place = func.row_number().over(**OF_SERIES, order_by=Metric.ordinal).label("place")
    chosen = select(*COLUMNS, number, place, func.count().over(**OF_SERIES).label("of"))
    ranked = chosen.where(condition, Metric.step.is_not(None)).subquery()
    each = (ranked.c.of + (MOST_POINTS - 1)) // MOST_POINTS
    shown = ranked.c.number <= MOST_SERIES
    return select(ranked).where(shown, ((ranked.c.place - 1) % each == 0) | (ranked.c.place == ranked.c.of)).subquery()


@lru_cache(maxsize=64)
def _own(kept: Kept, names: tuple[str, ...]) -> Any:
    """The statement for the steps that a run computed itself."""
    own = kept(and_(Metric.run_id == bindparam("run"), *_named(names)))
    query = select(Step.position, Step.item, Step.path, *_told(own)).join(own, Step.node == own.c.node)
    return query.where(Step.run_id == bindparam("run"))


def _named(names: tuple[str, ...]) -> list[Any]:
    return [Metric.name.in_(names)] if names else []


def _points(session: Session, run: Run, kept: Kept, names: tuple[str, ...] = ()) -> list[Point]:
    rows: list[tuple[int, int, int, Point]] = []
    connection = session.connection()
    for position, item, path, ordinal, *point in connection.execute(_own(kept, names), {"run": run.id}).all():
        rows.append((position, item, ordinal, Point(path, *point)))
    for keys, places in _hits(session, run):
        theirs = kept(and_(tuple_(Metric.run_id, Metric.node).in_(keys), *_named(names)))
        answered = connection.execute(select(theirs.c.run_id, theirs.c.node, *_told(theirs))).all()
        for run_id, node, ordinal, *point in answered:
            for position, item, path in places[run_id, node]:
                rows.append((position, item, ordinal, Point(path, *point)))
    return [point for _, _, _, point in sorted(rows, key=lambda row: row[:3])]


def _told(rows: Any) -> list[Any]:
    names = ("ordinal", "name", "step", "value", "of")
    return [rows.c[name] for name in names if name in rows.c]


def _hits(session: Session, run: Run) -> Iterator[tuple[list[NodeKey], dict[NodeKey, list[tuple[int, int, str]]]]]:
    """The steps that answered the run's hits, some at a time, and which steps of the run each of them answered."""
    places: dict[NodeKey, list[tuple[int, int, str]]] = defaultdict(list)
    query = select(Step.position, Step.item, Step.path, Step.source)
    for position, item, path, source in session.execute(query.where(Step.run_id == run.id, Step.state == "cached")):
        if source:
            places[source["run"], source["node"]].append((position, item, path))
    keys = list(places)
    for start in range(0, len(keys), CHUNK):
        yield keys[start : start + CHUNK], places
