"""An attempt becomes a pod: once, and what the cluster does not take is told, or put off when it may pass."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.cluster import NAMESPACE
from tests.integration.kubernetes.conftest import PREFIX, Pods
from workers.engine import keys
from workers.executors.kubernetes import cluster as cluster_module


def test_a_step_becomes_a_pod_and_no_worker_waits_for_it(pods: Pods) -> None:
    name = pods.launch()
    assert pods.state() == "external"
    pod = pods.cluster.pod(name)
    assert pod["metadata"]["annotations"]["celesta.dev/path"] == "one#0"
    assert [c["name"] for c in pod["spec"]["containers"]] == ["step"]
    assert [c["name"] for c in pod["spec"]["initContainers"]] == ["celesta-runtime"]


def test_launching_twice_makes_one_pod(pods: Pods) -> None:
    pods.launch()
    document = json.loads(pods.world.store.get(f"{PREFIX}step.json") or b"{}")
    assert pods.executor.submit(document) is None
    assert len(pods.cluster.names()) == 1


@pytest.mark.parametrize(
    ("status", "message", "type_"),
    [
        (403, 'pods is forbidden: User "x" cannot create resource "pods" in API group ""', "Forbidden"),
        (403, 'violates PodSecurity "restricted:latest"', "AdmissionRefused"),
        (403, "exceeded quota: q, requested: cpu=9, used: cpu=0, limited: cpu=8", "QuotaExceeded"),
        (422, 'Pod "x" is invalid', "InvalidPod"),
    ],
)
def test_what_the_cluster_refuses_fails_with_its_words(pods: Pods, status: int, message: str, type_: str) -> None:
    pods.cluster.fail("POST", status, message, times=9)
    pods.launch(retries=0)
    assert pods.error()["type"] == type_
    assert message in pods.error()["message"]
    assert pods.state() == "failed"


def test_a_namespace_that_does_not_exist_is_named(pods: Pods) -> None:
    pods.cluster.state.namespaces.clear()
    pods.launch()
    assert pods.error()["type"] == "NamespaceMissing"
    assert NAMESPACE in pods.error()["message"]


def test_a_quota_that_is_used_up_is_waited_for(pods: Pods) -> None:
    full = "exceeded quota: q, requested: cpu=1, used: cpu=8, limited: cpu=8"
    pods.cluster.fail("POST", 403, full)
    assert pods.launch() == ""
    assert pods.state() == "flight_wait"
    assert full in (pods.world.client.get(keys.pending("r1", "0", "1.1")) or b"").decode()
    pods.silence()
    pods.world.drain()
    assert pods.state() == "external"
    assert pods.world.events("r1", "step.retry") == []


def test_a_cluster_that_is_away_is_waited_for_and_costs_no_attempt(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "PAUSES_SECONDS", ())
    pods.cluster.fail("POST", 503)
    assert pods.launch() == ""
    pods.silence()
    pods.world.drain()
    assert pods.state() == "external"
    assert pods.world.events("r1", "step.retry") == []


def test_putting_off_has_an_end(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "PAUSES_SECONDS", ())
    pods.executor.config = replace(pods.config, cluster=replace(pods.config.cluster, unschedulable_seconds=0))
    pods.cluster.fail("POST", 503, times=99)
    pods.launch()
    assert pods.error()["kind"] == "system"


@pytest.mark.parametrize(
    "template", [{"spec": {"containers": [{"name": "step", "resources": {"limits": {"cpu": "x"}}}]}}, 7]
)
def test_a_template_that_is_no_pod_fails_before_anything_is_launched(pods: Pods, template: Any) -> None:
    pods.launch(pod_template=template)
    assert pods.error()["kind"] == "user"
    assert "pod_template of step 'one#0'" in pods.error()["message"]
    assert pods.cluster.names() == []


def test_a_template_that_asks_for_too_much_fails_before_anything_is_launched(pods: Pods, tmp_path: Path) -> None:
    template = {"spec": {"hostPID": True, "containers": [{"name": "step", "securityContext": {"privileged": True}}]}}
    pods.launch(pod_template=template)
    assert pods.error()["kind"] == "user"
    for place in ("spec.hostPID", "spec.containers[step].securityContext.privileged"):
        assert f"pod_template.{place}" in pods.error()["message"]
    assert pods.cluster.names() == []


def test_what_the_operator_gives_a_project_is_not_looked_at(pods: Pods, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("spec: {volumes: [{name: data, hostPath: {path: /data}}]}")
    pods.executor.config = replace(pods.config, cluster=replace(pods.config.cluster, pod_templates=tmp_path))
    pod = pods.cluster.pod(pods.launch(pod_template={"spec": {"nodeSelector": {"disk": "ssd"}}}))
    assert {"name": "data", "hostPath": {"path": "/data"}} in pod["spec"]["volumes"]


def test_an_interruptible_attempt_goes_where_the_operator_says(pods: Pods, tmp_path: Path) -> None:
    (tmp_path / "spot.yaml").write_text("spec: {nodeSelector: {spot: 'yes'}}")
    (tmp_path / "p.yaml").write_text("spec: {priorityClassName: low}")
    pods.executor.config = replace(pods.config, cluster=replace(pods.config.cluster, pod_templates=tmp_path))
    pod = pods.cluster.pod(pods.launch(interruptible=True, pod_template={"spec": {"serviceAccountName": "trainer"}}))
    assert pod["spec"]["nodeSelector"] == {"spot": "yes"}
    assert pod["spec"]["priorityClassName"] == "low"
    assert pod["spec"]["serviceAccountName"] == "trainer"


def test_a_projects_template_that_cannot_be_read_is_named(pods: Pods, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("spec: {")
    pods.executor.config = replace(pods.config, cluster=replace(pods.config.cluster, pod_templates=tmp_path))
    pods.launch()
    assert "p.yaml cannot be read" in pods.error()["message"]
