"""How pages say things."""

from __future__ import annotations

import pytest

from app.models import RUN_STATUSES, STEP_STATES
from app.models.step import ATTEMPT_STATES
from app.web import format as say


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0.00 s"), (12.34, "12.3 s"), (59.99, "60.0 s"), (252, "4 min 12 s"), (7500, "2 h 05 min")],
)
def test_durations_are_told_in_units_that_fit(value: float | None, text: str) -> None:
    assert say.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2e12, "2.0 TB")]
)
def test_sizes_are_told_in_units_that_fit(value: int | None, text: str) -> None:
    assert say.size(value) == text


def test_every_state_has_a_sign_of_its_own_shape() -> None:
    assert {*STEP_STATES, *RUN_STATUSES, *ATTEMPT_STATES} <= set(say.SIGNS)


def test_a_long_name_keeps_its_ends() -> None:
    assert say.shorten("train_a_very_long_name[12]", 19) == "train_a_very…me[12]"
    assert say.shorten(None, 5) == ""


def test_counts_are_told_in_words() -> None:
    assert say.told({"total": 0}) == "not started"
    assert say.told({"total": 9, "succeeded": 2, "cached": 1, "failed": 1}) == "4 of 9 done, 1 cached, 1 failed"


def test_what_has_no_plain_value_is_told_by_type_and_size() -> None:
    assert say.plain({"type": "table", "digest": "d", "size": 2000}) == "table, 2.0 kB"
    assert say.plain("text") == "text"
    assert say.plain([1, None]) == "[1, null]"
    assert len(say.plain("x" * 5000)) == say.VALUE_CHARACTERS + 1


def test_an_edge_leaves_right_and_arrives_left_by_way_of_its_points() -> None:
    places = [(0, 0, 0), (448, 0, 2)]
    graph = {"edges": [(0, 1)], "layout": {"nodes": places, "routes": {0: [(308, 90)]}}}
    (path,) = say.edge_paths(graph)
    assert path.startswith("M168 18 C")
    assert "224 90 H392" in path
    assert path.endswith("448 18")
