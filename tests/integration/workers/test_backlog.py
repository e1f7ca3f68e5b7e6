"""A run of very many steps and the others: the record of none waits for it, and it is complete in the end."""

import pytest

from tests.integration.workers.conftest import STEPS, launcher, send, states_of, status_of, turn, whole_run
from tests.unit.app.specs import wide
from workers import backlog, event_stream, recorder


@pytest.fixture
def narrow(monkeypatch):
    """A recorder that takes little at a time, so that few events are many."""
    monkeypatch.setattr(event_stream, "READ_EVENTS", 8)
    monkeypatch.setattr(recorder, "BATCH_EVENTS", 5)
    monkeypatch.setattr(backlog, "HUGE_EVENTS", 30)


def _huge(settings):
    huge = launcher(settings, wide(200))()
    huge.started(200)
    for node in range(200):
        huge.running(str(node))
        huge.settled(str(node))
    huge.finished(total=200, succeeded=200)
    return huge


@pytest.mark.usefixtures("narrow")
def test_a_huge_run_holds_up_no_other(settings, client, new_run, make, forgotten):
    huge, small, one = _huge(settings), new_run(), make()
    send(client, *huge.events[:300], *whole_run(small), *huge.events[300:])
    for _ in range(6):
        turn(one)
    assert forgotten == [small.run]
    assert set(states_of(small.run).values()) == {"succeeded"}
    assert 0 < len(states_of(huge.run)) < 150
    late = new_run()
    send(client, *whole_run(late))
    turn(one)
    assert forgotten == [small.run, late.run]
    while one._is_behind:
        turn(one)
    assert list(states_of(huge.run).values()) == ["succeeded"] * 200
    assert huge.run in forgotten


@pytest.mark.usefixtures("narrow")
def test_what_was_recorded_ahead_of_a_huge_run_may_come_again(settings, client, new_run, make, forgotten):
    huge, runs = _huge(settings), [new_run() for _ in range(3)]
    wholes = [whole_run(run) for run in runs]
    size = len(wholes[0])
    mixed = []
    for number in range(size):
        mixed += [*huge.events[number * 9 : number * 9 + 9], *(whole[number] for whole in wholes)]
    send(client, *mixed, *huge.events[size * 9 :])
    while len(set(forgotten)) < 4:
        turn(make())  # each dies after one turn
    assert {run.run for run in (huge, *runs)} == set(forgotten)
    assert [status_of(run) for run in forgotten] == ["succeeded"] * len(forgotten)
    assert len(states_of(huge.run)) == 200
    assert all(len(states_of(run.run)) == STEPS for run in runs)
