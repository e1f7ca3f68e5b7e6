"""Who may send how much while several wait."""

import pytest

from workers.shares import QUEUED, TURNS, Waiting, shares


def _runs(project: str, count: int, priority: int = 0) -> list[Waiting]:
    return [Waiting(f"{project}{number}", project, priority) for number in range(count)]


def test_who_is_alone_shares_with_nobody() -> None:
    assert shares([], {}) == {}
    assert shares(_runs("a", 5), {"a": 3}) == {}


def test_projects_share_by_weight_however_many_runs_they_have() -> None:
    found = shares([*_runs("a", 10), *_runs("b", 1)], {"a": 1, "b": 3})
    assert sum(found[f"a{number}"] for number in range(10)) == pytest.approx(QUEUED / 4)
    assert found["b0"] == pytest.approx(QUEUED * 3 / 4)


def test_a_project_of_many_runs_sends_for_a_few_at_a_time_the_oldest_first() -> None:
    found = shares([*_runs("a", 100), *_runs("b", 1)], {})
    assert [run for run, share in found.items() if run[0] == "a" and share > 0] == [f"a{n}" for n in range(TURNS)]
    assert found["a50"] == 0


def test_a_higher_priority_goes_first_inside_its_project_only() -> None:
    alone = shares([*_runs("a", 1), Waiting("urgent", "a", 2)], {})
    assert alone["urgent"] == pytest.approx(16 * alone["a0"])
    beside = shares([*_runs("a", 1), Waiting("urgent", "a", 2), *_runs("b", 1)], {})
    assert beside["urgent"] + beside["a0"] == pytest.approx(beside["b0"])
