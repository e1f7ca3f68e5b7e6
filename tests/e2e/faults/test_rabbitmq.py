"""The same with RabbitMQ as the broker: random DAGs, killed workers, and messages that come twice."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from kombu import Connection

from celesta.client import Client
from tests.e2e.faults.conftest import MANY, NewTrial
from tests.e2e.faults.trial import SHORT_SECONDS
from tests.e2e.workflows import dags


def test_random_dags_equal_their_oracles(new_trial: NewTrial, rabbitmq_url: str) -> None:
    stack = new_trial(CELESTA_BROKER_URL=rabbitmq_url).stack
    stack.cli("register", dags.__file__)

    def run(seed: int) -> None:
        for name in ("alpha", "beta"):
            with Client(stack.url) as client:
                ended = client.wait(client.launch(name, {"seed": seed})["run_id"], timeout=120)
            assert ended["outputs"] == {"result": getattr(dags, name)(seed=seed)}, ended["error"]

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(run, range(3)))
    stack.down()


def test_workers_killed_again_and_again_only_delay_a_run(new_trial: NewTrial, rabbitmq_url: str) -> None:
    trial = new_trial(items=MANY, CELESTA_BROKER_URL=rabbitmq_url).launch(SHORT_SECONDS)

    assert trial.disturbed(lambda: trial.kill_one("celesta-worker"), every=2.0) >= 1
    trial.check()
    trial.stack.down()


def test_messages_delivered_twice_and_in_disorder_change_nothing(new_trial: NewTrial, rabbitmq_url: str) -> None:
    trial = new_trial(CELESTA_BROKER_URL=rabbitmq_url)
    over, copied = threading.Event(), []
    meddling = threading.Thread(target=_meddle, args=(rabbitmq_url, over, copied))
    meddling.start()
    try:
        attempts = trial.launch().check()
    finally:
        over.set()
        meddling.join()
    assert copied, "no message was met in the queue"
    assert attempts["lost"] == 0
    trial.stack.down()


def _meddle(url: str, over: threading.Event, copied: list[str]) -> None:
    """Moves messages from the front of the queue to its end; those that are met for the first time, twice."""
    with Connection(url) as connection, connection.channel() as channel:
        while not over.wait(0.01):
            with suppress(*connection.channel_errors):
                message = channel.basic_get("steps", no_ack=True)
                if message is None:
                    continue
                name = message.properties["correlation_id"]
                for _ in range(1 if name in copied else 2):
                    channel.basic_publish(message, exchange="", routing_key="steps")
                copied.append(name)
