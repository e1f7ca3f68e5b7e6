"""How commands speak: results on stdout (one JSON document with `--json`), all else on stderr.

Every command module uses these few functions, so that listings look alike: aligned columns, no frames, short moments
and sizes. On a pipe nothing is coloured. What users' code has named, said or raised reaches no terminal with its
control characters.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from celesta.cli.terminal import harmless

if TYPE_CHECKING:
    from rich.console import Console

F = TypeVar("F", bound=Callable[..., Any])

COLORS = {
    "succeeded": "green", "cached": "cyan", "running": "blue", "queued": "blue", "ready": "blue", "failed": "red",
    "cancelled": "yellow", "skipped": "bright_black", "upstream_failed": "bright_black",
}  # fmt: skip
WIDE = 10_000
"""Nothing is cut, also on a narrow terminal: people copy ids and addresses."""

_C1 = re.compile("[\x7f-\x9f]")

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
project_option = click.option("--project", metavar="P", help="Project to use instead of CELESTA_PROJECT.")
limit_option = click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many.")


def print_json(document: object) -> None:
    """The only thing on stdout. JSON itself spells out the control characters of ASCII; the others are spelled here."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    print(_C1.sub(lambda found: f"\\u{ord(found[0]):04x}", text))  # noqa: T201


def say(message: str = "") -> None:
    """For people, beside the result."""
    print(harmless(message), file=sys.stderr, flush=True)  # noqa: T201


def put(message: str = "") -> None:
    """A result for people."""
    print(harmless(message), flush=True)  # noqa: T201


@functools.cache
def console() -> Console:
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True, width=WIDE)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Aligned columns; numbers to the right. `empty` says what to do when there are no rows."""
    from rich.table import Table
    from rich.text import Text

    shown = [list(row) for row in rows]
    if not shown:
        say(empty)
        return
    grid = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for index, heading in enumerate(headings):
        right = all(isinstance(row[index], int | float) for row in shown)
        grid.add_column(heading.upper(), justify="right" if right else "left", no_wrap=True, overflow="ellipsis")
    for row in shown:
        grid.add_row(
            *(Text("" if cell is None else harmless(str(cell)), style=COLORS.get(str(cell), "")) for cell in row)
        )
    with console().capture() as capture:
        console().print(grid)
    lines = (line.rstrip() for line in capture.get().split("\n"))
    print("\n".join(lines).rstrip("\n"), flush=True)  # noqa: T201 - its colours are ours


def listing(
    found: Sequence[dict[str, Any]],
    as_json: bool,
    headings: Sequence[str],
    row: Callable[[dict[str, Any]], Sequence[object]],
    empty: str,
) -> None:
    """The documents of a listing, as they are or one a row."""
    if as_json:
        print_json(found)
    else:
        table(headings, map(row, found), empty)


def fields(pairs: Iterable[tuple[str, object]]) -> None:
    """Names and values of one object, those that are there."""
    known = [(name, value) for name, value in pairs if value not in (None, "", [], {})]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        put(f"{name:<{width}}  {text}")


def short(value: object, length: int = 60) -> str:
    """A plain value in one line."""
    if isinstance(value, dict) and {"type", "digest", "size"} <= value.keys():
        return f"{value.get('name') or value['type']} ({size(value['size'])})"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 1]}…"


def size(count: float | None) -> str:
    if count is None:
        return ""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def counts_text(counts: dict[str, int]) -> str:
    """`18 steps: 6 succeeded, 12 cached`."""
    states = [f"{counts[name]} {name}" for name in counts if name != "total" and counts[name]]
    steps = "1 step" if counts["total"] == 1 else f"{counts['total']} steps"
    return f"{steps}: {', '.join(states)}" if states else steps


def seconds(value: float | None) -> str:
    if value is None:
        return ""
    if value < 60:
        return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def ago(moment: str | None, now: datetime | None = None) -> str:
    """`3 min ago`, for a moment as the API writes it."""
    if not moment:
        return ""
    passed = ((now or datetime.now(UTC)) - datetime.fromisoformat(moment)).total_seconds()
    if passed < 60:
        return "just now" if passed < 5 else f"{passed:.0f} s ago"
    for unit, length in (("min", 60), ("h", 3600), ("d", 86400)):
        if passed < length * {"min": 60, "h": 48, "d": 10**6}[unit]:
            return f"{passed // length:.0f} {unit} ago"
    return moment
