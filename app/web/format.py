"""How the pages say things: words, times, sizes, values, the lines of a drawing. Pure; the filters of the templates."""

import json
from datetime import datetime
from typing import Any

from flask import Flask

from app.services.graph_layout import NODE_HEIGHT, NODE_WIDTH

SIGNS = {
    "succeeded": "M2 6.5 L5 9.5 L10.5 3",
    "cached": "M6.5 1 L2.5 7 H6 L5.5 11 L9.5 5 H6 Z",
    "failed": "M2.5 2.5 L9.5 9.5 M9.5 2.5 L2.5 9.5",
    "lost": "M2.5 2.5 L9.5 9.5 M9.5 2.5 L2.5 9.5",
    "running": "M6 1.5 A4.5 4.5 0 1 1 1.5 6",
    "queued": "M6 1.5 A4.5 4.5 0 1 0 6 10.5 A4.5 4.5 0 1 0 6 1.5 M6 3.5 V6 L8 7.5",
    "waiting": "M6 1.5 A4.5 4.5 0 1 0 6 10.5 A4.5 4.5 0 1 0 6 1.5 M6 3.5 V6 L8 7.5",
    "parked": "M3.5 2 V10 M8.5 2 V10",
    "backoff": "M10 6 A4 4 0 1 1 8.5 2.8 M8.5 0.8 V3 H6.3",
    "skipped": "M1.5 2.5 L5.5 6 L1.5 9.5 M6 2.5 L10 6 L6 9.5",
    "upstream_failed": "M1.5 6 H10.5 M3 3 L9 9",
    "cancelled": "M2 6 A4 4 0 1 0 10 6 A4 4 0 1 0 2 6 M3.2 8.8 L8.8 3.2",
}
WAITING = SIGNS["waiting"]
VALUE_CHARACTERS = 2_000
TOLD = ("cached", "failed", "running", "skipped", "cancelled")


def sign_path(state: str) -> str:
    """The path of a state's sign, in a box of 12 by 12."""
    return SIGNS.get(state, WAITING)


def words(name: str) -> str:
    return name.replace("_", " ")


def clock(moment: str | None) -> str:
    """A moment of the API in words; a script makes it local."""
    if not moment:
        return "–"
    return datetime.fromisoformat(moment).strftime("%Y-%m-%d %H:%M:%S UTC")


def seconds(value: float | None) -> str:
    """`0.34 s`, `12.3 s`, `4 min 12 s`, `2 h 05 min`."""
    if value is None:
        return "–"
    if value < 10:
        return f"{value:.2f} s"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(value: int | None) -> str:
    if value is None:
        return "–"
    amount = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def compact(value: float | None) -> str:
    """A metric; not a number is kept as null."""
    return "not a number" if value is None else f"{value:.6g}"


def shorten(text: str | None, length: int) -> str:
    """The ends of a name tell more than its middle (`train_a_very…[12]`)."""
    text = text or ""
    if len(text) <= length:
        return text
    tail = length // 3
    return f"{text[: length - tail - 1]}…{text[-tail:]}"


def first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def plain(value: Any) -> str:
    """A plain value on a page: text as it is, the rest as JSON, cut where it is long."""
    if isinstance(value, dict) and set(value) == {"type", "digest", "size"}:
        return f"{value['type']}, {size(value['size'])}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= VALUE_CHARACTERS else f"{text[:VALUE_CHARACTERS]}…"


def told(counts: dict[str, int]) -> str:
    """`12 of 18 steps done, 3 cached, 1 failed`."""
    done = sum(counts.get(name, 0) for name in ("succeeded", "cached", "failed", "skipped", "cancelled"))
    if not counts["total"]:
        return "not started"
    parts = [f"{done} of {counts['total']} done"] if done < counts["total"] else [f"{counts['total']} done"]
    return ", ".join(parts + [f"{counts[name]} {name}" for name in TOLD if counts.get(name)])


def edge_paths(graph: dict[str, Any]) -> list[str]:
    """Each edge as an SVG path: out to the right, around what lies between, in from the left."""
    places, routes = graph["layout"]["nodes"], graph["layout"]["routes"]
    paths = []
    for position, (source, target) in enumerate(graph["edges"]):
        x, y = places[source][0] + NODE_WIDTH, places[source][1] + NODE_HEIGHT // 2
        path = [f"M{x} {y}"]
        for middle, height in routes.get(position, ()):
            path.append(_curve(x, y, middle - NODE_WIDTH // 2, height))
            x, y = middle + NODE_WIDTH // 2, height
            path.append(f"H{x}")
        path.append(_curve(x, y, places[target][0], places[target][1] + NODE_HEIGHT // 2))
        paths.append(" ".join(path))
    return paths


def group_names(graph: dict[str, Any]) -> list[tuple[int, int, int]]:
    """Where the name of each outermost group stands: above its first piece."""
    groups = graph.get("groups") or []
    named: dict[int, tuple[int, int, int]] = {}
    for left, top, _, _, group in graph["layout"]["frames"]:
        if "/" not in groups[group]["path"]:
            named.setdefault(group, (left + 2, top - 4, group))
    return list(named.values())


def _curve(x: int, y: int, to_x: int, to_y: int) -> str:
    bend = min(60, (to_x - x) // 2)
    return f"C{x + bend} {y} {to_x - bend} {to_y} {to_x} {to_y}"


def init_app(app: Flask) -> None:
    for each in (words, clock, seconds, size, compact, shorten, first_line, plain, told, edge_paths, group_names):
        app.template_filter(each.__name__)(each)
    app.add_template_global(sign_path)
