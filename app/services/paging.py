"""Keyset pages: a cursor is the sort key of the last row, so that page 1,000 costs what page 1 does.

Used by every `*_query` module that lists. A cursor is opaque to its holder, and one that was tampered with is refused.
"""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from app.models.columns import MAX_KEY
from celesta.errors import InputError, Problem

T = TypeVar("T")
Key = tuple[Any, ...]
LIMIT = 50
MAX_LIMIT = 500


@dataclass(frozen=True)
class Page(Generic[T]):
    items: list[T]
    next_cursor: str | None


def page_of(rows: Sequence[T], limit: int, key: Callable[[T], Key]) -> Page[T]:
    """A page from `limit + 1` rows: the one too many tells that there is a next page."""
    items = list(rows[:limit])
    return Page(items, encode(key(items[-1])) if len(rows) > limit else None)


def encode(key: Key) -> str:
    plain = [{"at": part.timestamp()} if isinstance(part, datetime) else part for part in key]
    return base64.urlsafe_b64encode(json.dumps(plain, separators=(",", ":")).encode()).decode().rstrip("=")


def decode(cursor: str, *types: type) -> Key:
    """The sort key of a cursor, checked against the types of its parts; raises `InputError`."""
    try:
        plain = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        key = tuple(datetime.fromtimestamp(part["at"], UTC) if isinstance(part, dict) else part for part in plain)
        if [type(part) for part in key] != list(types) or not all(map(_is_storable, key)):
            raise ValueError("parts of other types")
    except (binascii.Error, ValueError, TypeError, KeyError, OverflowError, OSError, RecursionError) as error:
        raise InputError([Problem("cursor", "is not one that this listing gave; start without a cursor")]) from error
    return key


def _is_storable(part: Any) -> bool:
    """Whether a database can be asked for it: numbers of 64 bits, and text that is text."""
    if isinstance(part, str):
        return "\0" not in part and part == part.encode().decode()
    return not isinstance(part, int) or abs(part) <= MAX_KEY
