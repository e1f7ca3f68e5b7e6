"""The reconciler's slow rounds."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from kombu.exceptions import OperationalError
from sqlalchemy.exc import OperationalError as DatabaseError

from app.services.run_source import Unfinished
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


def test_a_run_whose_record_is_ahead_of_redis_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = {name: Unfinished("run", epoch) for name, epoch in (("same", 2), ("ahead", 1), ("behind", 2))}
    monkeypatch.setattr(reconciler.sources, "database", lambda config: nullcontext())
    monkeypatch.setattr(reconciler.run_source, "unfinished", lambda: runs)
    monkeypatch.setattr(reconciler.run_source, "answered", list)
    known = {"same": ("run", 2), "ahead": ("run", 2), "behind": ("run", 1)}
    monkeypatch.setattr(reconciler.Reconciler, "_known", lambda self, runs: known)
    sent: list[str] = []
    monkeypatch.setattr(reconciler.dispatch, "send_start", lambda url, run: sent.append(run))
    app: Any = SimpleNamespace(engine=SimpleNamespace(client=None), config=SimpleNamespace(celery_broker_url=""))
    one = reconciler.Reconciler(app)
    monkeypatch.setattr(one.admission, "look", lambda runs: None)
    one.sweep_runs()
    assert sent == ["behind"]


def test_the_reconciler_does_without_a_broker_and_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OperationalError("no broker")

    def refuse_rows(*_: Any) -> Any:
        raise DatabaseError("select", None, Exception("no database"))

    monkeypatch.setattr(reconciler.sources, "database", lambda config: nullcontext())
    monkeypatch.setattr(reconciler.sources, "close_questions", refuse_rows)
    monkeypatch.setattr(reconciler.dispatch, "waiting", refuse)
    answers = [True, False]
    monkeypatch.setattr(reconciler.dispatch, "send_start", lambda url, run: answers.pop())
    app: Any = SimpleNamespace(engine=SimpleNamespace(client=None), config=SimpleNamespace(celery_broker_url=""))
    one = reconciler.Reconciler(app)
    assert one.backlog() is None
    assert one.close_questions("r1", ["0"]) is None
    one.ask_start("r1")
    one.ask_start("r1")
    assert not answers, "as soon as there is a broker"
