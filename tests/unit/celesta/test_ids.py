import re

import pytest

from celesta import ids


def test_run_ids_sort_by_time_and_never_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for second in range(1_800_000_000, 1_800_000_050):
        monkeypatch.setattr(ids.time, "time", lambda now=second: float(now))
        made.append(ids.new_run_id())
    assert made == sorted(made)
    assert all(re.fullmatch("[0-9a-hjkmnp-tv-z]{13}", one) for one in made)
    assert len({ids.new_run_id() for _ in range(500)}) == 500  # of one second: more would meet by chance, now and then
