"""Sizes and durations: how they are read, and what is none."""

import datetime as dt
from typing import Any

import pytest

from celesta.units import parse_bytes, parse_seconds

VAST = pytest.param(10**400, id="vast")
"""Above what a float can be."""


@pytest.mark.parametrize(
    ("text", "size"),
    [("2Gi", 2 << 30), ("512Mi", 512 << 20), ("1.5GB", 1_500_000_000), ("100k", 100_000), ("64", 64), (4096, 4096)],
)
def test_sizes_are_read_with_their_units(text: str | int, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["2Gib", "many", "-1Gi", 0, -5, True, 1.5, "", "0Mi", "9" * 400, VAST])
def test_what_is_no_size_is_none(text: Any) -> None:
    assert parse_bytes(text) is None


@pytest.mark.parametrize(
    ("given", "seconds"), [(10, 10.0), ("500ms", 0.5), ("5m", 300.0), ("7d", 604800.0), (dt.timedelta(hours=1), 3600.0)]
)
def test_durations_are_read_with_their_units(given: Any, seconds: float) -> None:
    assert parse_seconds(given) == seconds


@pytest.mark.parametrize("given", ["soon", "-1s", "5", True, -1, float("inf"), "9" * 400 + "d", VAST])
def test_what_is_no_duration_is_none(given: Any) -> None:
    assert parse_seconds(given) is None
