"""The API of a cluster, as it is asked: what is repeated, what is given up, and what is never asked twice."""

import threading
import time
from pathlib import Path

import pytest

from app.cluster_config import ClusterConfig
from celesta.errors import ConfigError
from tests.fixtures.cluster import NAMESPACE, TestCluster
from tests.fixtures.processes import wait_until
from workers.executors.kubernetes import cluster as module
from workers.executors.kubernetes.cluster import Cluster, ClusterError, Pace, Refused
from workers.executors.kubernetes.informer import Informer

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"x": "y"}}, "spec": {}}


@pytest.fixture
def client(cluster: TestCluster) -> Cluster:
    return Cluster(cluster.config)


def named(name: str) -> dict[str, object]:
    return {**POD, "metadata": {"name": name, "labels": {"x": "y"}}}


def test_a_pod_is_made_found_and_removed(client: Cluster) -> None:
    client.create_pod(NAMESPACE, POD)
    found = client.pod(NAMESPACE, "a")
    assert found is not None
    assert found["spec"] == POD["spec"]
    assert client.delete_pod(NAMESPACE, "a", "another uid") is False
    assert client.delete_pod(NAMESPACE, "a", found["metadata"]["uid"]) is True
    assert client.delete_pod(NAMESPACE, "a") is False
    assert client.pod(NAMESPACE, "a") is None


def test_every_request_shows_who_asks(cluster: TestCluster, client: Cluster) -> None:
    client.pods(NAMESPACE, "x=y")
    assert cluster.api._requests[-1].headers["Authorization"] == "Bearer secret-token"


def test_a_second_pod_of_a_name_is_refused(client: Cluster) -> None:
    client.create_pod(NAMESPACE, POD)
    with pytest.raises(Refused) as refused:
        client.create_pod(NAMESPACE, POD)
    assert (refused.value.status, refused.value.reason) == (409, "AlreadyExists")


def test_a_busy_server_is_asked_again_when_it_says(cluster: TestCluster, client: Cluster) -> None:
    cluster.fail("POST", 429, "too many requests", headers={"Retry-After": "1"})
    began = time.monotonic()
    client.create_pod(NAMESPACE, POD)
    assert time.monotonic() - began >= 1.0
    assert cluster.names() == ["a"]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_failing_server_is_asked_again(cluster: TestCluster, client: Cluster, status: int) -> None:
    cluster.fail("POST", status, times=2)
    client.create_pod(NAMESPACE, POD)
    assert len(cluster.requests("POST")) == 3


def test_a_quota_that_two_requests_changed_at_once_is_asked_again(cluster: TestCluster, client: Cluster) -> None:
    cluster.fail("POST", 409, "Operation cannot be fulfilled on resourcequotas", "Conflict")
    client.create_pod(NAMESPACE, POD)
    assert cluster.names() == ["a"]


def test_asking_again_has_an_end(cluster: TestCluster, client: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES_SECONDS", (0.01, 0.01))
    cluster.fail("POST", 503, "etcd has no leader", times=99)
    with pytest.raises(ClusterError, match="busy \\(503\\): etcd has no leader") as failed:
        client.create_pod(NAMESPACE, POD)
    assert failed.value.retryable
    assert len(cluster.requests("POST")) == 3


def test_what_is_refused_is_not_asked_again(cluster: TestCluster, client: Cluster) -> None:
    cluster.fail("POST", 403, "exceeded quota", times=99)
    with pytest.raises(Refused, match="exceeded quota"):
        client.create_pod(NAMESPACE, POD)
    assert len(cluster.requests("POST")) == 1


def test_a_list_comes_in_pages(cluster: TestCluster, client: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    for name in "abcde":
        client.create_pod(NAMESPACE, named(name))
    client.create_pod(NAMESPACE, {**POD, "metadata": {"name": "other"}})
    pods, version = client.pods(NAMESPACE, "x=y")
    assert [pod["metadata"]["name"] for pod in pods] == list("abcde")
    assert version == str(cluster.state.version)
    assert len(cluster.requests("GET", "limit=2")) == 3


def test_only_the_events_of_the_pod_are_asked_for(cluster: TestCluster, client: Cluster) -> None:
    client.create_pod(NAMESPACE, POD)
    uid = cluster.pod("a")["metadata"]["uid"]
    cluster.event("a", "FailedScheduling", "no room")
    assert [event["reason"] for event in client.events_of(NAMESPACE, uid)] == ["FailedScheduling"]
    assert cluster.requests("GET", f"fieldSelector=involvedObject.uid%3D{uid}") or cluster.requests("GET", uid)


def test_requests_come_at_the_pace_that_was_asked_for() -> None:
    pace = Pace(100.0)
    for _ in range(200):
        pace.wait()
    began = time.monotonic()
    for _ in range(20):
        pace.wait()
    assert time.monotonic() - began >= 0.15


@pytest.mark.parametrize("text", ["{", "just text", "clusters: 7", "current-context: nowhere"])
def test_a_kubeconfig_that_does_not_parse_says_so(tmp_path: Path, text: str) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"(?s)no cluster can be reached.*KUBECONFIG"):
        Cluster(ClusterConfig(kubeconfig=str(file)))


# The informer


class Heard:
    """What an informer told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def __call__(self, pod: dict[str, object], gone: bool) -> None:
        metadata = pod["metadata"]
        assert isinstance(metadata, dict)
        phase = pod["status"]["phase"] if isinstance(pod["status"], dict) else ""
        self.told.append((metadata["name"], "gone" if gone else phase))


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def informer(client: Cluster, cluster: TestCluster, heard: Heard) -> Informer:
    made = Informer(client, NAMESPACE, "x=y", heard)
    made.start()
    wait_until(lambda: cluster.state.watches == 1, what="the watch")
    return made


def test_news_comes_by_one_watch_and_no_polling(
    cluster: TestCluster, client: Cluster, informer: Informer, heard: Heard
) -> None:
    client.create_pod(NAMESPACE, POD)
    wait_until(lambda: ("a", "Pending") in heard.told)
    cluster.end("a")
    wait_until(lambda: ("a", "Succeeded") in heard.told)
    cluster.remove("a")
    wait_until(lambda: ("a", "gone") in heard.told)
    assert informer.pods == {}
    assert len(cluster.requests("GET")) == 2
    assert "allowWatchBookmarks=true" in cluster.requests("GET")[-1]


def test_a_watch_that_is_too_old_lists_again_and_misses_nothing(
    cluster: TestCluster, client: Cluster, informer: Informer, heard: Heard
) -> None:
    client.create_pod(NAMESPACE, POD)
    client.create_pod(NAMESPACE, named("b"))
    wait_until(lambda: len(informer.pods) == 2)

    async def behind_its_back() -> None:
        cluster.state.pods.pop((NAMESPACE, "a"))
        cluster.state.pods[NAMESPACE, "b"]["status"]["phase"] = "Failed"

    cluster.do(behind_its_back())
    cluster.compact()
    wait_until(lambda: ("a", "gone") in heard.told and ("b", "Failed") in heard.told)


def test_a_watch_goes_on_from_the_last_bookmark(
    cluster: TestCluster, client: Cluster, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.executors.kubernetes.informer.WATCH_SECONDS", 1)
    cluster.state.bookmark_seconds = 0.1
    informer = Informer(client, NAMESPACE, "x=y", heard)
    informer.start()
    client.create_pod("celesta-default", POD)  # raises the version, in a namespace that is not watched
    last = str(cluster.state.version)
    wait_until(lambda: any(f"resourceVersion={last}" in path for path in cluster.requests("GET", "watch=true")))
    assert len(cluster.requests("GET", "limit=")) == 1


def test_a_server_that_is_away_is_waited_for(
    cluster: TestCluster, client: Cluster, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSES_SECONDS", ())
    monkeypatch.setattr("workers.executors.kubernetes.informer.SHORTEST_PAUSE_SECONDS", 0.05)
    cluster.fail("GET", 503, times=3)
    informer = Informer(client, NAMESPACE, "x=y", heard)
    informer.start()
    client.create_pod(NAMESPACE, POD)
    wait_until(lambda: ("a", "Pending") in heard.told)


def test_rights_that_are_missing_are_told_and_nothing_ends(
    cluster: TestCluster, client: Cluster, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.fail("GET", 403, 'pods is forbidden: User "x" cannot list resource "pods"', times=99)
    informer = Informer(client, NAMESPACE, "x=y", heard)
    informer.start()
    wait_until(lambda: "cannot list resource" in caplog.text)
    assert informer.is_alive()
    informer.stop.set()
    assert threading.active_count() >= 1
