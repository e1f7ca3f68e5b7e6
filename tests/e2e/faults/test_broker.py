"""The broker killed, emptied, and repeating itself."""

import os
import signal
import threading
from contextlib import suppress

from redis import RedisError

from tests.e2e.faults.conftest import MANY, NewTrial
from tests.e2e.faults.trial import SHORT_SECONDS, Trial
from tests.fixtures.processes import wait_until


def test_a_broker_that_is_killed_comes_back_with_everything(new_trial: NewTrial) -> None:
    trial = new_trial(items=MANY).launch(SHORT_SECONDS)
    trial.somewhere()
    (broker,) = trial.processes("valkey-server") or trial.processes("redis-server")
    os.kill(broker.pid, signal.SIGKILL)
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
