"""One watcher follows the pods: each end is told once, and none is lost, whoever died."""

import pytest

from tests.fixtures.cluster import NAMESPACE
from tests.fixtures.processes import wait_until
from tests.integration.kubernetes.conftest import PREFIX, Pods
from workers.engine import keys
from workers.executors.kubernetes import cluster as cluster_module


def test_the_end_of_a_pod_completes_its_step_and_starts_the_next(pods: Pods) -> None:
    name = pods.launch()
    pods.watcher.tick()
    pods.write_result()
    pods.cluster.end(name)
    wait_until(lambda: pods.told)  # without a tick
    assert pods.told == [("r1", "0", "1.1")]
    assert pods.state() == "succeeded"
    assert pods.state("1") == "sent"


def test_an_end_is_told_once(pods: Pods) -> None:
    name = pods.launch()
    pods.watcher.tick()
    pods.write_result()
    pods.cluster.end(name)
    wait_until(lambda: pods.told)
    pods.cluster.status(name, message="again")
    pods.cluster.compact()
    pods.watcher.tick()
    wait_until(lambda: pods.cluster.state.watches == 1)
    assert pods.told == [("r1", "0", "1.1")]


def test_ends_that_come_together_are_told_together(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.watcher.ends.GATHER_SECONDS", 1.0)
    messages = []
    pods.watcher._finish = lambda run, attempts: bool(messages.append(list(attempts))) or pods.finish(run, attempts)
    pods.watcher.stand_down()
    names = pods.launch_many(12)
    for number, name in enumerate(names):
        pods.write_result(number)
        pods.cluster.end(name)
    pods.watcher.tick()
    wait_until(lambda: len(pods.told) == 12)
    assert len(messages) <= 2
    assert {pods.state(str(number)) for number in range(12)} == {"succeeded"}


def test_what_ended_while_no_watcher_lived_is_told_by_the_next(pods: Pods) -> None:
    name = pods.launch()
    pods.write_result()
    pods.cluster.end(name)
    pods.watcher.tick()
    wait_until(lambda: pods.state() == "succeeded")


def test_a_new_watcher_tells_nothing_that_was_told(pods: Pods) -> None:
    name = pods.launch()
    pods.watcher.tick()
    pods.write_result()
    pods.cluster.end(name)
    wait_until(lambda: pods.state() == "succeeded")
    pods.watcher.stand_down()
    pods.watcher.tick()
    wait_until(lambda: len(pods.watcher.ends) == 1)
    uid = pods.cluster.pod(name)["metadata"]["uid"]
    wait_until(lambda: pods.watcher.ends._known[uid].settled)
    assert pods.told == [("r1", "0", "1.1")]


def test_an_end_that_nobody_heard_is_told_again(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.watcher.ends.TELL_AGAIN_SECONDS", 0.05)
    heard = pods.finish
    pods.watcher._finish = lambda *_: False
    pods.watcher.stand_down()
    name = pods.launch()
    pods.watcher.tick()
    pods.write_result()
    pods.cluster.end(name)
    pods.until(lambda: len(pods.watcher.ends) == 1)
    assert pods.state() == "external"
    pods.watcher.ends._finish = heard
    pods.until(lambda: pods.state() == "succeeded")


def test_one_watcher_leads_and_another_takes_over(pods: Pods) -> None:
    pods.watcher.tick()
    second = pods.new_watcher()
    second.tick()
    assert second.informers == {}
    pods.watcher.stand_down()
    pods.watcher.lead.resign()
    second.tick()
    assert list(second.informers) == [NAMESPACE]
    pods.watcher.tick()
    assert pods.watcher.informers == {}
    second.stand_down()


def test_a_pod_that_lives_keeps_its_step(pods: Pods) -> None:
    pods.launch()
    member = keys.member("r1", "0")
    pods.world.client.zadd(keys.INFLIGHT, {member: 1})
    pods.until(lambda: (pods.world.client.zscore(keys.INFLIGHT, member) or 0) > 1)


def test_without_any_watcher_the_reconciler_finds_what_ended(pods: Pods) -> None:
    name = pods.launch(retries=0)
    pods.silence()
    assert pods.state() == "external"
    pods.cluster.end(name, 4, message="last words")
    pods.silence()
    assert pods.error()["type"] == "ProcessExited"


def test_without_any_watcher_the_reconciler_finds_what_is_gone(pods: Pods) -> None:
    pods.cluster.remove(pods.launch())
    pods.silence()
    assert pods.error()["type"] == "Lost"
    assert pods.state() == "sent"


def test_while_the_cluster_does_not_answer_nothing_is_concluded(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "PAUSES_SECONDS", ())
    pods.launch()
    pods.cluster.fail("GET", 503, times=99)
    pods.silence()
    assert pods.state() == "external"


def test_the_pods_of_a_run_that_is_forgotten_are_looked_at_once(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.watcher.ends.TELL_AGAIN_SECONDS", 0.05)
    name = pods.launch()
    pods.world.client.flushdb()
    pods.cluster.end(name, 4)
    uid = pods.cluster.pod(name)["metadata"]["uid"]
    pods.until(lambda: len(pods.watcher.ends) == 1)
    pods.until(lambda: pods.watcher.ends._known[uid].settled)
    assert pods.told == []
    assert pods.world.store.get(f"{PREFIX}result.json") is not None


def test_a_pod_that_waits_says_why_as_long_as_it_does(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.watcher.keeping.LOOK_EVERY_SECONDS", 0.0)
    name, key = pods.launch(), keys.pending("r1", "0", "1.1")
    words = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}
    pods.cluster.status(name, phase="Pending", conditions=[condition])
    pods.until(lambda: pods.world.client.get(key) == f"a node: {words}".encode())
    assert 0 < pods.world.client.pttl(key) <= 60_000
    pods.cluster.status(name, phase="Running")
    pods.until(lambda: pods.world.client.get(key) is None)
