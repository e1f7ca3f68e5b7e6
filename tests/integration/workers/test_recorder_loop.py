"""The loop around the recorder: it ends when it is told to, outlives Redis, and lets nobody wait for company."""

import json
import threading
import time
from contextlib import contextmanager

import pytest

from tests.fixtures.processes import SOON_SECONDS
from tests.integration.workers.conftest import (
    STREAM,
    send,
    status_of,
    whole_run,
)
from workers import recorder


@contextmanager
def _running(settings, forgotten):
    stop = threading.Event()
    thread = threading.Thread(target=recorder.run, args=(stop, settings, forgotten.append))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


def _await_recorded(client, run_id, after="0-0"):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for _, entries in client.xread({STREAM: after}, block=1000, count=5000) or ():
            after = entries[-1][0]
            for _, fields in entries:
                event = json.loads(fields[b"e"])
                if event["kind"] == "run.recorded" and event["run"] == run_id:
                    return event
    pytest.fail(f"run {run_id} was not recorded")


def test_the_loop_records_until_it_is_told_to_stop(settings, client, new_run, forgotten):
    with _running(settings, forgotten):
        for _ in range(3):
            run = new_run()
            send(client, *whole_run(run))
            _await_recorded(client, run.run)
            assert status_of(run.run) == "succeeded"


def test_the_end_of_a_run_waits_for_no_company(settings, client, new_run, forgotten, monkeypatch):
    with _running(settings, forgotten):
        first = new_run()
        send(client, *whole_run(first))
        _await_recorded(client, first.run)
        run = new_run()
        whole = whole_run(run)
        send(client, *whole[:-1])
        monkeypatch.setattr(recorder, "GATHER_SECONDS", 10 * SOON_SECONDS)
        send(client, whole[-1])
        _await_recorded(client, run.run)


def test_the_loop_outlives_redis(settings, client, new_run, forgotten, monkeypatch):
    monkeypatch.setattr(recorder, "RETRY_SECONDS", 0.01)
    with _running(settings, forgotten):
        run = new_run()
        send(client, run.started())
        for connection in client.client_list():
            if connection["cmd"].startswith("xread"):
                client.client_kill_filter(_id=connection["id"])
        send(client, *whole_run(run)[1:])
        _await_recorded(client, run.run)
