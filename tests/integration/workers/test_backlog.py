"""A run of very many steps and the others: the record of none waits for it, and it is complete in the end."""

import pytest

from tests.integration.app.conftest import config, context  # noqa: F401
from tests.integration.workers.test_recorder import (
    STEPS,
    _launcher,
    _send,
    _states,
    _status,
    _turn,
    _whole,
    client,
    forgotten,
    make,
    new_run,
    settings,
)
from tests.unit.app.specs import wide
from workers import backlog, event_stream, recorder

__all__ = ["client", "forgotten", "make", "new_run", "settings"]


@pytest.fixture
def narrow(monkeypatch):
    """A recorder that takes little at a time, so that few events are many."""
    monkeypatch.setattr(event_stream, "READ_EVENTS", 8)
    monkeypatch.setattr(recorder, "BATCH_EVENTS", 5)
    monkeypatch.setattr(backlog, "HUGE_EVENTS", 30)


def _huge(settings):
    huge = _launcher(settings, wide(200))()
    huge.started(200)
    for node in range(200):
        huge.running(str(node))
        huge.settled(str(node))
    huge.finished(total=200, succeeded=200)
    return huge


@pytest.mark.usefixtures("narrow")
def test_a_huge_run_holds_up_no_other(settings, client, new_run, make, forgotten):
    huge, small, one = _huge(settings), new_run(), make()
    _send(client, *huge.events[:300], *_whole(small), *huge.events[300:])
    for _ in range(6):
        _turn(one)
    assert forgotten == [small.run]
    assert set(_states(small.run).values()) == {"succeeded"}
    assert 0 < len(_states(huge.run)) < 150
    late = new_run()
    _send(client, *_whole(late))
    _turn(one)
    assert forgotten == [small.run, late.run]
    while one._is_behind:
        _turn(one)
    assert list(_states(huge.run).values()) == ["succeeded"] * 200
    assert huge.run in forgotten


@pytest.mark.usefixtures("narrow")
def test_what_was_recorded_ahead_of_a_huge_run_may_come_again(settings, client, new_run, make, forgotten):
    huge, runs = _huge(settings), [new_run() for _ in range(3)]
    wholes = [_whole(run) for run in runs]
    size = len(wholes[0])
    mixed = []
    for number in range(size):
        mixed += [*huge.events[number * 9 : number * 9 + 9], *(whole[number] for whole in wholes)]
    _send(client, *mixed, *huge.events[size * 9 :])
    while len(set(forgotten)) < 4:
        _turn(make())  # each dies after one turn
    assert {run.run for run in (huge, *runs)} == set(forgotten)
    assert [_status(run) for run in forgotten] == ["succeeded"] * len(forgotten)
    assert len(_states(huge.run)) == 200
    assert all(len(_states(run.run)) == STEPS for run in runs)
