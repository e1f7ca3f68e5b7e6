"""What the steps of a whole run measured. A step that the cache answered has the metrics of the step that answered it.

Called by `run_diff` and `run_compare`. Two statements for a run, and one more for every 500 hits. Writes nothing.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import select, tuple_

from app.models import Metric, Run, Step
from app.services.session import Session

CHUNK = 500
NodeKey = tuple[str, str]


class Point(NamedTuple):
    """One measurement; `step` is what its author counts by (epochs, folds), None when nothing was said."""

    path: str
    name: str
    step: int | None
    value: float | None


def of_run(session: Session, run: Run) -> list[Point]:
    """Every measurement of a run, by step of the plan in the order in which they were logged."""
    columns = Metric.name, Metric.step, Metric.value
    own = (
        select(Step.position, Step.item, Step.path, Metric.ordinal, *columns)
        .join(Step, (Step.run_id == Metric.run_id) & (Step.node == Metric.node))
        .where(Metric.run_id == run.id)
    )
    rows: list[tuple[int, int, int, Point]] = []
    for position, item, path, ordinal, name, step, value in session.execute(own):
        rows.append((position, item, ordinal, Point(path, name, step, value)))
    for keys, places in _hits(session, run):
        query = select(Metric.run_id, Metric.node, Metric.ordinal, *columns)
        query = query.where(tuple_(Metric.run_id, Metric.node).in_(keys))
        for run_id, node, ordinal, name, step, value in session.execute(query):
            for position, item, path in places[run_id, node]:
                rows.append((position, item, ordinal, Point(path, name, step, value)))
    return [point for _, _, _, point in sorted(rows, key=lambda row: row[:3])]


def last_values(points: list[Point]) -> dict[str, dict[str, float | None]]:
    """By path and name the value that was logged last."""
    found: dict[str, dict[str, float | None]] = defaultdict(dict)
    for point in points:
        found[point.path][point.name] = point.value
    return found


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
