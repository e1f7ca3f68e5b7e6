"""A pod that failed: its cause, its last events and its log, whoever wrote the result."""

import threading
from typing import Any

import pytest

from celesta.errors import StoreError
from tests.fixtures.cluster import NAMESPACE
from tests.fixtures.pods_api import now
from tests.fixtures.processes import wait_until
from tests.integration.kubernetes.conftest import PREFIX, Pods
from workers.engine import keys
from workers.watcher.ends import THREADS

FAILURES = {
    "exit": ({"code": 4, "message": "last words"}, "ProcessExited", "user"),
    "memory": ({"code": 137, "reason": "OOMKilled"}, "OutOfMemory", "out_of_memory"),
    "deadline": ({"code": 143, "_reason": "DeadlineExceeded"}, "Timeout", "timeout"),
    "eviction": ({"code": 137, "_reason": "Evicted"}, "Evicted", "system"),
    "preemption": ({"code": 143, "_disrupted": "PreemptionByScheduler"}, "Preempted", "system"),
    "node": ({"code": 137, "_disrupted": "DeletionByTaintManager"}, "NodeLost", "system"),
    "no python": (
        {"code": 128, "reason": "StartError", "message": 'exec: "python3": not found'},
        "Configuration",
        "user",
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_has_its_cause_the_last_events_and_the_log(pods: Pods, failure: str) -> None:
    status, type_, kind = FAILURES[failure]
    more: dict[str, Any] = {name.lstrip("_"): value for name, value in status.items() if name == "_reason"}
    if disrupted := status.get("_disrupted"):
        more["conditions"] = [{"type": "DisruptionTarget", "status": "True", "reason": disrupted, "message": "m"}]
    name = pods.launch(retries=0)
    pods.watcher.tick()
    pods.cluster.log(name, b"what it had written\n")
    pods.cluster.event(name, "Killing", "Stopping container step")
    _end(pods, name, {key: value for key, value in status.items() if not key.startswith("_")}, more)
    wait_until(lambda: pods.told)
    error = pods.error()
    assert (error["type"], error["kind"]) == (type_, kind)
    assert "Killing: Stopping container step" in error["events"][0]
    assert pods.world.store.get(f"{PREFIX}log.txt") == b"what it had written\n"
    assert pods.state() == ("sent" if kind == "system" else "failed")


def _end(pods: Pods, name: str, end: dict[str, Any], more: dict[str, Any]) -> None:
    code = end.pop("code")
    terminated = {"exitCode": code, "reason": end.get("reason", "Error"), "message": end.get("message", "")}
    container = {"name": "step", "image": "i", "state": {"terminated": terminated}}
    pods.cluster.status(name, phase="Failed", containerStatuses=[container], **more)


def test_the_pod_after_one_that_ran_out_of_memory_may_use_more(pods: Pods) -> None:
    retry = {"max": 1, "backoff_seconds": 0.0, "factor": 1.0, "memory_factor": 2.0}
    first = pods.launch(retry=retry, resources={"cpu": 1, "memory_bytes": 1 << 30, "gpu": 0})
    pods.watcher.tick()
    pods.cluster.end(first, 137, "OOMKilled")
    wait_until(lambda: pods.state() in ("sent", "backoff", "asking", "ready"))
    while pods.world.queue:
        pods.world.work()
    (second,) = set(pods.cluster.names()) - {first}
    assert [_memory(pods, name) for name in (first, second)] == [1 << 30, 2 << 30]


def _memory(pods: Pods, name: str) -> int:
    step = next(one for one in pods.cluster.pod(name)["spec"]["containers"] if one["name"] == "step")
    return int(step["resources"]["limits"]["memory"])


def test_a_result_that_was_written_counts_whatever_the_pod_says(pods: Pods) -> None:
    name = pods.launch()
    pods.watcher.tick()
    pods.write_result()
    pods.cluster.end(name, 137, "OOMKilled")
    wait_until(lambda: pods.state() == "succeeded")


def test_a_container_task_that_ended_well_has_what_its_sidecar_stored(pods: Pods) -> None:
    name = pods.launch(kind="container", image="busybox")
    pods.watcher.tick()
    pods.write_result(name="outputs.json")
    pods.cluster.log(name, b"hello\n")
    pods.cluster.end(name)
    wait_until(lambda: pods.state() == "succeeded")
    assert pods.world.store.get(f"{PREFIX}log.txt") == b"hello\n"


def test_a_container_task_that_failed_has_not_whatever_its_sidecar_stored(pods: Pods) -> None:
    name = pods.launch(kind="container", image="busybox", retries=0)
    pods.watcher.tick()
    pods.write_result(name="outputs.json")
    pods.cluster.end(name, 1)
    wait_until(lambda: pods.state() == "failed")
    assert pods.error()["type"] == "ProcessExited"


def test_a_pod_that_somebody_deleted_is_launched_again(pods: Pods) -> None:
    name = pods.launch()
    pods.watcher.tick()
    wait_until(lambda: NAMESPACE in pods.watcher.informers and pods.watcher.pod(name))
    pods.cluster.remove(name)
    wait_until(lambda: pods.told)
    assert pods.error()["type"] == "PodDeleted"
    assert pods.state() == "sent"


def test_an_image_that_cannot_be_pulled_is_given_up_and_its_pod_removed(
    pods: Pods, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = pods.launch(retries=0)
    pods.watcher.tick()
    waiting = {"waiting": {"reason": "InvalidImageName", "message": "couldn't parse image name"}}
    status = [{"name": "step", "image": "a b", "state": waiting}]
    pods.cluster.status(name, containerStatuses=status, startTime="2026-01-01T00:00:00Z")
    monkeypatch.setattr("workers.watcher.keeping.LOOK_EVERY_SECONDS", 0.0)
    pods.until(lambda: pods.state() == "failed")
    assert pods.error()["type"] == "ImagePull"
    assert "couldn't parse image name" in pods.error()["message"]
    pods.until(lambda: pods.cluster.names() == [])


def test_pods_that_are_given_up_are_removed_however_many_and_if_that_fails_at_first(
    pods: Pods, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.watcher.chores.MOST_IN_HAND", 3)
    monkeypatch.setattr("workers.watcher.keeping.LOOK_EVERY_SECONDS", 0.0)
    names = pods.launch_many(8)
    refused = pods.cluster.fail("DELETE", 403, "not now")
    waiting = {"waiting": {"reason": "InvalidImageName", "message": "couldn't parse image name"}}
    for name in names:
        status = [{"name": "step", "image": "a b", "state": waiting}]
        pods.cluster.status(name, containerStatuses=status, startTime="2026-01-01T00:00:00Z")
    pods.until(lambda: pods.cluster.names() == [])
    assert refused.times == 0
    assert len(pods.cluster.requests("DELETE")) == len(names) + 1


def test_a_pod_that_cannot_be_mounted_says_so_and_is_given_up(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("keeping.LOOK_EVERY_SECONDS", "chores.AGAIN_SECONDS"):
        monkeypatch.setattr(f"workers.watcher.{name}", 0.0)
    name, waits = pods.launch(retries=0), keys.pending("r1", "0", "1.1")
    words = 'MountVolume.SetUp failed for volume "key": secret "not-there" not found'
    pods.cluster.event(name, "FailedMount", words)
    containers = [{"name": "step", "image": "i", "state": {"waiting": {"reason": "PodInitializing"}}}]

    def placed(seconds: float) -> None:
        pods.cluster.status(name, containerStatuses=containers, startTime=now(-seconds))

    placed(60)
    pods.until(lambda: words in (pods.world.client.get(waits) or b"").decode())
    assert pods.state() == "external"
    placed(pods.config.cluster.unschedulable_seconds)
    pods.until(lambda: pods.state() == "failed")
    assert pods.error()["type"] == "Configuration"
    assert words in pods.error()["message"]
    pods.until(lambda: pods.cluster.names() == [])


def test_the_time_of_a_command_counts_from_its_own_start(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.watcher.keeping.LOOK_EVERY_SECONDS", 0.0)
    name = pods.launch(kind="container", image="busybox", timeout_seconds=60.0, retries=0)

    def runs_since(started_at: str) -> None:
        state = {"running": {"startedAt": started_at}}
        status = {"phase": "Running", "startTime": "2026-01-01T00:00:00Z"}
        pods.cluster.status(name, containerStatuses=[{"name": "step", "state": state}], **status)

    runs_since(now())  # after an hour in which its image was pulled
    pods.until(lambda: pods.watcher.pod(name))
    pods.watcher.tick()
    assert pods.state() == "external"
    runs_since("2026-01-01T01:00:00Z")
    pods.until(lambda: pods.state() == "failed")
    assert (pods.error()["type"], pods.error()["kind"]) == ("Timeout", "timeout")
    pods.until(lambda: pods.cluster.names() == [])


def test_a_store_that_is_away_loses_no_end(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.watcher.ends.TELL_AGAIN_SECONDS", 0.05)
    name = pods.launch(retries=0)
    pods.watcher.tick()
    store = pods.world.engine.store
    get = store.get

    def away(key: str) -> bytes | None:
        raise StoreError("away")

    monkeypatch.setattr(store, "get", away)
    pods.cluster.end(name, 4)
    pods.until(lambda: len(pods.watcher.ends) == 1)
    monkeypatch.setattr(store, "get", get)
    pods.until(lambda: pods.state() == "failed")


def test_a_pod_whose_node_does_not_answer_is_waited_for_no_longer_than_it_may_stay(
    pods: Pods, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.watcher.keeping.LOOK_EVERY_SECONDS", 0.0)
    name = pods.launch()
    pods.watcher.tick()
    unreachable = "Get https://10.0.0.7:10250/containerLogs: dial tcp 10.0.0.7:10250: i/o timeout"
    pods.cluster.fail("GET", 500, unreachable, times=9999, part="/log")
    change = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Running"}}
    pods.cluster.do(pods.cluster.api.patch((NAMESPACE, name), change))
    pods.until(lambda: pods.state() == "sent")
    assert pods.error()["kind"] == "system"
    assert pods.cluster.requests("GET", "/log") == []


@pytest.mark.parametrize("status", [403, 500])
def test_a_log_that_cannot_be_had_holds_up_no_end(pods: Pods, status: int) -> None:
    name = pods.launch(retries=0)
    pods.watcher.tick()
    pods.cluster.fail("GET", status, "cannot get resource", times=9999, part="/log")
    pods.cluster.end(name, 4)
    wait_until(lambda: pods.state() == "failed")
    assert pods.error()["type"] == "ProcessExited"


def test_ends_that_take_long_are_concluded_once_and_hold_up_no_other(
    pods: Pods, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.watcher.ends.TELL_AGAIN_SECONDS", 0.05)
    over, begun = threading.Event(), []
    monkeypatch.setattr("workers.watcher.ends.conclude", lambda *_, **__: (begun.append(1), over.wait())[0])
    many = 2 * THREADS
    *stuck, good = pods.launch_many(many + 1)
    pods.watcher.tick()
    for name in stuck:
        pods.cluster.end(name, 4)
    pods.until(lambda: len(begun) == THREADS)
    ticks = iter(range(200))
    pods.until(lambda: next(ticks) > 100)  # each of which would have it done once more
    pods.write_result(many)
    pods.cluster.end(good)
    pods.until(lambda: pods.state(str(many)) == "succeeded")
    assert pods.watcher.ends._pool._work_queue.qsize() == many - THREADS
    over.set()
