"""The broker killed, emptied, and repeating itself."""

import os
import threading
from contextlib import suppress

import psutil
import pytest
from redis import RedisError

from celesta.settings import supervisor_pid
from tests.e2e.faults.conftest import MANY, NewTrial
from tests.e2e.faults.trial import SHORT_SECONDS, Trial
from tests.fixtures.processes import wait_until


@pytest.mark.parametrize("lost_bytes", [0, 20_000])
def test_a_broker_that_is_killed_is_as_if_it_had_lost_nothing(new_trial: NewTrial, lost_bytes: int) -> None:
    """Also where it had answered and not written yet: what is written each second lacks the last moment."""
    trial = new_trial(items=MANY).launch(SHORT_SECONDS)
    trial.somewhere()
    (broker,) = trial.processes("valkey-server") or trial.processes("redis-server")
    supervisor = psutil.Process(supervisor_pid(trial.stack.home))
    supervisor.suspend()
    broker.kill()
    wait_until(lambda: broker.status() == psutil.STATUS_ZOMBIE, 30, "the broker's end")
    (written,) = trial.stack.home.glob("broker/appendonlydir/*.incr.aof")
    os.truncate(written, max(0, written.stat().st_size - lost_bytes))
    supervisor.resume()
    wait_until(lambda: _answers(trial), 30, "the broker's return")
    trial.check()


def test_a_broker_that_lost_everything_is_filled_again_from_what_is_durable(new_trial: NewTrial) -> None:
    trial = new_trial(items=MANY).launch(SHORT_SECONDS)
    trial.somewhere()
    with trial.redis() as client:
        client.flushall()
    trial.check()


def test_messages_delivered_twice_and_in_disorder_change_nothing(new_trial: NewTrial) -> None:
    trial = new_trial()
    over, copied = threading.Event(), []
    meddling = threading.Thread(target=_meddle, args=(trial, over, copied))
    meddling.start()
    try:
        attempts = trial.launch().check()
    finally:
        over.set()
        meddling.join()
    assert copied, "no message was met in the queue"
    assert attempts["lost"] == 0


def _meddle(trial: Trial, over: threading.Event, copied: list[bytes]) -> None:
    """Turns the queue about, and puts a copy of each message that is met for the first time at its other end."""
    with trial.redis() as client:
        while not over.wait(0.01):
            message = client.lpop("steps")
            if message is None:
                continue
            client.rpush("steps", message)
            if message not in copied:
                copied.append(message)
                client.lpush("steps", message)


def _answers(trial: Trial) -> bool:
    with suppress(RedisError), trial.redis() as client:
        return bool(client.ping())
    return False
