"""Moments and durations as the REST API and the pages tell them."""

from datetime import UTC, datetime


def iso(moment: datetime | None) -> str | None:
    """ISO 8601 with milliseconds and `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None


def seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    """Never negative: the two moments may come from two clocks."""
    return round(max(0.0, (end - start).total_seconds()), 6) if start and end else None


def milliseconds(moment: datetime | None) -> int | None:
    return round(moment.timestamp() * 1000) if moment else None
