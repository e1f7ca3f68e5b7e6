"""Series as the lines of a drawing: pure, for the template `part/chart.html`."""

from collections.abc import Sequence
from typing import Any

from app.web.format import compact

WIDTH, HEIGHT, MARGIN = 720, 200, 8
LEFT = 70
LINES = 6
"""Kinds of line that the style sheet has; more series than this share them."""
MOST_SERIES, MOST_POINTS = 30, 2_000
Document = dict[str, Any]


def chart(series: Sequence[Document]) -> Document | None:
    """A path for each series with two points or more, and the ends of both axes; None when there is nothing to draw."""
    known = [(one, [(x, y) for x, y in one["points"] if _is_finite(y)]) for one in series[:MOST_SERIES]]
    drawn = [(one, _thinned(points)) for one, points in known if len(points) > 1]
    if not drawn:
        return None
    xs = [x for _, points in drawn for x, _ in points]
    ys = [y for _, points in drawn for _, y in points]
    box = min(xs), max(xs), min(ys), max(ys)
    return {
        "lines": [
            {"d": _path(points, box), "kind": index % LINES, "run_id": one["run_id"], "path": one["path"]}
            for index, (one, points) in enumerate(drawn)
        ],
        "x": (f"{box[0]:,}", f"{box[1]:,}"),
        "y": (compact(box[2]), compact(box[3])),
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "left_out": max(0, len(series) - MOST_SERIES),
    }


def _is_finite(value: float | None) -> bool:
    return value is not None and abs(value) < float("inf")


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """By step, and no more points than anyone can see."""
    points = sorted(points)
    return points[:: -(-len(points) // MOST_POINTS)]


def _path(points: list[tuple[int, float]], box: tuple[float, float, float, float]) -> str:
    left, right, low, high = box
    wide, tall = WIDTH - LEFT - MARGIN, HEIGHT - 2 * MARGIN - 16
    places = (
        (
            LEFT + wide * (x - left) / ((right - left) or 1),
            MARGIN + tall * (1 - ((y - low) / (high - low) if high > low else 0.5)),
        )
        for x, y in points
    )
    return "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in places)
