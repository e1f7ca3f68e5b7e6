"""Pods that nobody needs any more are removed, and no others; live logs are followed while somebody looks."""

import threading
import time

import pytest

from tests.fixtures.processes import SOON_SECONDS, wait_until
from tests.integration.kubernetes.conftest import PREFIX, Pods
from workers.engine import Ended, complete, control, keys


def test_the_pods_of_a_cancelled_run_are_removed_and_it_ends_cancelled(pods: Pods) -> None:
    name = pods.launch()
    pods.watcher.tick()
    wait_until(lambda: pods.watcher.pod(name))
    control(pods.world.engine, "r1", "cancel")
    pods.until(lambda: pods.cluster.names() == [])
    pods.until(lambda: pods.world.finished() is not None)
    assert pods.world.finished()["status"] == "cancelled"
    assert pods.world.store.get(f"{PREFIX}result.json") is None


def test_no_tick_waits_for_the_removal_of_pods_however_many(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.watcher.chores.MOST_IN_HAND", 12)
    names = pods.launch_many(20)
    pods.watcher.tick()
    wait_until(lambda: len(pods.watcher.pods()) == len(names))
    answers, delete = threading.Event(), pods.watcher._cluster.delete_pod
    monkeypatch.setattr(pods.watcher._cluster, "delete_pod", lambda *one: answers.wait() and delete(*one))
    control(pods.world.engine, "r1", "cancel")
    ticks = threading.Thread(target=lambda: [pods.watcher.tick() for _ in range(3)], daemon=True)
    ticks.start()
    ticks.join(SOON_SECONDS)
    assert not ticks.is_alive()
    assert len(pods.watcher.keeping._chores) == 12
    answers.set()
    pods.until(lambda: pods.cluster.names() == [])


def test_a_pod_of_an_attempt_that_nobody_waits_for_is_removed(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.watcher.keeping.VOUCH_EVERY_SECONDS", 0.0)
    name = pods.launch()
    pods.watcher.tick()
    wait_until(lambda: pods.watcher.pod(name))
    lost = {"type": "Lost", "message": "", "traceback": "", "kind": "system"}
    complete(
        pods.world.engine,
        "r1",
        [Ended("0", "1.1", {"status": "failed", "outputs": {}, "error": lost, "metrics": []})],
    )
    pods.until(lambda: pods.cluster.names() == [])


def test_the_pods_of_a_run_that_is_over_are_removed_and_of_one_that_may_come_back_are_not(
    pods: Pods, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("keeping.VOUCH_EVERY_SECONDS", "keeping.ORPHANED_AFTER_SECONDS", "watch.RECORD_EVERY_SECONDS"):
        monkeypatch.setattr(f"workers.watcher.{name}", 0.0)
    name = pods.launch()
    pods.watcher.tick()
    wait_until(lambda: pods.watcher.pod(name))
    pods.world.client.flushdb()
    for _ in range(3):
        pods.watcher.tick()
    assert pods.cluster.names() == [name]
    pods.unfinished = []
    pods.until(lambda: pods.cluster.names() == [])


def test_ended_pods_are_removed_after_a_while(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.watcher.ends.TELL_AGAIN_SECONDS", 0.05)
    watcher = pods.watcher = pods.new_watcher(keep_seconds=0.5)
    name = pods.launch()
    watcher.tick()
    pods.write_result()
    pods.cluster.end(name)
    wait_until(lambda: pods.state() == "succeeded")
    assert pods.cluster.names() == [name]
    pods.until(lambda: pods.cluster.names() == [])
    pods.until(lambda: len(watcher.ends) == 0)


def test_pods_of_another_deployment_are_left_alone(pods: Pods) -> None:
    theirs = pods.new_watcher(deployment="other")
    pods.launch()
    pods.watcher.lead.resign()
    theirs.tick()
    wait_until(lambda: pods.cluster.state.watches == 1)
    theirs.tick()
    assert theirs.pods() == []
    theirs.stand_down()


# Logs


def test_a_log_that_somebody_looks_at_comes_live(pods: Pods) -> None:
    name = pods.launch()
    pods.cluster.status(name, phase="Running")
    pods.cluster.log(name, b"first\n")
    pods.world.client.zadd(keys.LOGS_WANTED, {"r1|0|1.1": time.time() + 30})
    stream = keys.live_log("r1", "0", "1.1")
    pods.until(lambda: pods.world.client.xlen(stream) == 1)
    pods.cluster.log(name, b"second\n")
    wait_until(lambda: pods.world.client.xlen(stream) == 2)
    data = b"".join(fields[b"d"] for _, fields in pods.world.client.xrange(stream))
    assert data == b"first\nsecond\n"
    pods.cluster.end(name)


def test_a_log_that_nobody_looks_at_is_not_followed(pods: Pods) -> None:
    name = pods.launch()
    pods.cluster.status(name, phase="Running")
    pods.watcher.tick()
    wait_until(lambda: pods.watcher.pod(name))
    pods.watcher.tick()
    assert pods.cluster.requests("GET", "/log") == []
