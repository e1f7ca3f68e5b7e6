"""Services that go away for a while: database, store, recorder, web."""

import os
import random
import signal
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from celesta.client import Client
from celesta.errors import ServerUnreachable
from tests.e2e.faults.conftest import NewTrial
from tests.e2e.faults.trial import Trial
from tests.fixtures.object_store import Bucket
from tests.fixtures.postgres import new_cluster
from tests.fixtures.processes import answers, wait_until
from tests.fixtures.proxy import proxy

AWAY_SECONDS = 20.0


def test_a_database_that_is_away_delays_what_is_recorded(new_trial: NewTrial) -> None:
    import psycopg

    with new_cluster() as cluster:
        with cluster.serving():
            with psycopg.connect(cluster.url.replace("+psycopg", "") + "/postgres", autocommit=True) as admin:
                admin.execute("CREATE DATABASE celesta")
            trial = new_trial(CELESTA_DATABASE_URL=f"{cluster.url}/celesta").launch()
        threading.Event().wait(AWAY_SECONDS)  # The fault itself.
        with cluster.serving():
            trial.check()
            trial.stack.down()


@pytest.mark.parametrize("how", ["refuse", "hang"])
def test_a_store_that_does_not_answer_loses_no_result(new_trial: NewTrial, s3: Bucket, how: str) -> None:
    there = urlsplit(s3.endpoint_url)
    with proxy(str(there.hostname), int(there.port or 0)) as between:
        environ = s3.environ | {"CELESTA_S3_ENDPOINT_URL": f"http://127.0.0.1:{between.port}"}
        trial = new_trial(items=60, **environ).launch()
        between.turn(how)  # type: ignore[arg-type]
        threading.Event().wait(AWAY_SECONDS)  # The fault itself.
        between.turn("pass")
        trial.check()
        trial.stack.down()


def test_a_recorder_that_is_killed_records_everything_once(new_trial: NewTrial) -> None:
    trial = new_trial().launch()

    assert trial.disturbed(lambda: trial.kill_one("celesta-recorde"), every=2.0) >= 1
    trial.check()


@pytest.fixture
def killing() -> Iterator[threading.Event]:
    over = threading.Event()
    yield over
    over.set()


def test_a_launch_through_a_restarting_web_is_made_once(new_trial: NewTrial, killing: threading.Event) -> None:
    trial = new_trial(items=3)

    port = urlsplit(trial.stack.url).port or 0

    def kill() -> None:
        while not killing.wait(random.uniform(0, 1.4)):
            if answers(port):  # Before that it is about to start, and would never answer.
                for process in trial.processes("celesta-web"):
                    os.kill(process.pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    keys = [uuid4().hex for _ in range(8)]
    launched = [_launched(trial, key) for key in keys]
    again = [_launched(trial, key) for key in keys]
    killing.set()
    thread.join()
    assert again == launched
    wait_until(lambda: len(trial.stack.json("runs", "list")) == len(set(launched)), 60, "one run for each key")
    for run_id in launched:
        trial.stack.cli("runs", "watch", run_id)


def _launched(trial: Trial, key: str) -> str:
    """Asks until the server answers, as a client with an idempotency key may."""
    inputs = {"count": 3, "seconds": 0.0, "ledger": str(trial.ledger)}
    while True:
        try:
            with Client(trial.stack.url) as client:
                return str(client.launch("counted", inputs, idempotency_key=key)["run_id"])
        except ServerUnreachable:
            threading.Event().wait(0.1)
