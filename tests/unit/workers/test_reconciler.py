"""The reconciler's slow round."""

from types import SimpleNamespace
from typing import Any

import pytest

from workers import reconciler


def test_the_store_is_swept_at_the_start_and_not_at_every_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    swept: list[int] = []
    client = SimpleNamespace(set=lambda *_, **__: True)
    engine = SimpleNamespace(client=client, store=SimpleNamespace(sweep=lambda: swept.append(1)))
    app: Any = SimpleNamespace(engine=engine)
    for name in ("restore_cache_index", "sweep_runs", "limit_caches"):
        monkeypatch.setattr(reconciler.Reconciler, name, lambda self: None)
    monkeypatch.setattr(reconciler.overdue, "sweep", lambda *_: None)
    monkeypatch.setattr(reconciler.overdue, "next_in_seconds", lambda *_: 1.0)
    one = reconciler.Reconciler(app)
    one.tick()
    one.tick()
    assert swept == [1]
