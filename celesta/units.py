"""Numbers, sizes and durations as people write them.

Called wherever somebody gives one: options of tasks, the configuration, the command line, steps that sleep. Pure.
"""

import datetime as dt
import re
from typing import Any

from celesta.errors import InputError

_NUMBER = r"\d{1,18}(?:\.\d+)?"
VAST = 10**18
"""No number of seconds, bytes or cores reaches it: far above any use, far below what overflows."""
_UNITS = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
_UNITS |= {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
MOST_SLEEP_SECONDS = 10 * 366 * 24 * 3600
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def parse_bytes(value: str | int) -> int | None:
    """Bytes of `2147483648` or `"2Gi"`; None when it is no size."""
    if is_whole(value):
        return int(value) if 0 < int(value) < VAST else None
    found = re.fullmatch(rf"\s*({_NUMBER})\s*([kMGT]i?|Ki|)B?\s*", value) if isinstance(value, str) else None
    if found is None or found[2] not in _UNITS:
        return None
    return int(float(found[1]) * _UNITS[found[2]]) or None


def parse_seconds(value: float | str | dt.timedelta) -> float | None:
    """Seconds of a number, a timedelta or `"5m"`; None when it is no duration of 0 or more."""
    if isinstance(value, dt.timedelta):
        value = value.total_seconds()
    if isinstance(value, str):
        found = re.fullmatch(rf"\s*({_NUMBER})\s*(ms|s|m|h|d)\s*", value)
        return float(found[1]) * _SECONDS[found[2]] if found else None
    return float(value) if is_number(value) and 0 <= value < VAST else None


def sleep_seconds(value: Any) -> float:
    """How long a `sleep` is, by a server and in a local run. Raises `InputError` for what is no such time."""
    if not isinstance(value, int | float) or not 0 <= value < MOST_SLEEP_SECONDS:
        raise InputError(f"{value!r} is no number of seconds from 0 to {MOST_SLEEP_SECONDS}")
    return value
