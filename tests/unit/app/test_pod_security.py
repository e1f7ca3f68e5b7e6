"""What the Pod Security Standards forbid is named field by field, and what they allow is not."""

from typing import Any

import pytest

from app.pod_security import POD_CONTEXT, STANDARDS, breaches, hardened

STEP = "spec.containers[step]"


def pod(spec: dict[str, Any], **more: Any) -> dict[str, Any]:
    return hardened({"spec": {"containers": [{"name": "step"}], **spec}, **more})


def named(found: dict[str, Any], standard: str = "restricted") -> list[str]:
    return [problem.where for problem in breaches(found, standard)]


def container(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "step", **fields}]}


def whole(**fields: Any) -> dict[str, Any]:
    return {"securityContext": POD_CONTEXT | fields}


def context(**fields: Any) -> dict[str, Any]:
    return container(securityContext=fields)


BASELINE = [
    ({"hostNetwork": True}, "spec.hostNetwork"),
    ({"hostPID": True}, "spec.hostPID"),
    ({"hostIPC": True}, "spec.hostIPC"),
    ({"nodeName": "control-plane"}, "spec.nodeName"),
    ({"volumes": [{"name": "root", "hostPath": {"path": "/"}}]}, "spec.volumes[root].hostPath"),
    (whole(sysctls=[{"name": "kernel.msgmax"}]), "spec.securityContext.sysctls[kernel.msgmax]"),
    (whole(seccompProfile={"type": "Unconfined"}), "spec.securityContext.seccompProfile.type"),
    (whole(windowsOptions={"hostProcess": True}), "spec.securityContext.windowsOptions.hostProcess"),
    (container(ports=[{"containerPort": 80, "hostPort": 80}]), f"{STEP}.ports[80].hostPort"),
    (container(livenessProbe={"httpGet": {"host": "10.0.0.1"}}), f"{STEP}.livenessProbe.httpGet.host"),
    (container(lifecycle={"preStop": {"tcpSocket": {"host": "x"}}}), f"{STEP}.preStop.tcpSocket.host"),
    (context(procMount="Unmasked"), f"{STEP}.securityContext.procMount"),
    (context(appArmorProfile={"type": "Unconfined"}), f"{STEP}.securityContext.appArmorProfile.type"),
    (context(seLinuxOptions={"type": "spc_t"}), f"{STEP}.securityContext.seLinuxOptions"),
    (context(capabilities={"drop": ["ALL"], "add": ["BPF"]}), f"{STEP}.securityContext.capabilities.add[BPF]"),
]  # fmt: skip
RESTRICTED = [
    ({"volumes": [{"name": "share", "nfs": {"server": "x", "path": "/"}}]}, "spec.volumes[share].nfs"),
    (whole(runAsUser=0), "spec.securityContext.runAsUser"),
    ({"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}, f"{STEP}.securityContext.runAsNonRoot"),
    ({"securityContext": {"runAsNonRoot": True}}, f"{STEP}.securityContext.seccompProfile"),
    (context(runAsNonRoot=False), f"{STEP}.securityContext.runAsNonRoot"),
    (context(runAsUser=0), f"{STEP}.securityContext.runAsUser"),
    (context(allowPrivilegeEscalation=True), f"{STEP}.securityContext.allowPrivilegeEscalation"),
    (context(capabilities={"drop": ["CHOWN"]}), f"{STEP}.securityContext.capabilities.drop"),
    (context(capabilities={"drop": ["ALL"], "add": ["CHOWN"]}), f"{STEP}.securityContext.capabilities.add[CHOWN]"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "where"), BASELINE)
def test_what_baseline_forbids_is_allowed_as_privileged_alone(spec: dict[str, Any], where: str) -> None:
    assert [named(pod(spec), standard) for standard in STANDARDS] == [[where], [where], []]


@pytest.mark.parametrize(("spec", "where"), RESTRICTED)
def test_what_only_restricted_forbids_is_allowed_below(spec: dict[str, Any], where: str) -> None:
    assert [named(pod(spec), standard) for standard in STANDARDS] == [[where], [], []]


def test_a_privileged_container_is_named_in_all_that_it_is() -> None:
    where = f"{STEP}.securityContext"
    assert named(pod(context(privileged=True)), "baseline") == [f"{where}.privileged"]
    assert {f"{where}.privileged", f"{where}.allowPrivilegeEscalation"} <= set(named(pod(context(privileged=True))))


def test_an_unconfined_profile_by_annotation_is_one_too() -> None:
    key = "container.apparmor.security.beta.kubernetes.io/step"
    assert named(pod({}, metadata={"annotations": {key: "unconfined"}})) == [f"metadata.annotations[{key}]"]
    assert named(pod({}, metadata={"annotations": {key: "runtime/default", "team": "x"}})) == []


def test_what_restricted_allows_is_no_breach() -> None:
    volumes = [{"name": "a", "emptyDir": {}}, {"name": "b", "secret": {"secretName": "s"}}]
    fields = {"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}, "readOnlyRootFilesystem": True}
    spec = {**context(**fields), "volumes": volumes, "nodeSelector": {"gpu": "a100"}, "hostNetwork": False}
    assert named(pod(spec)) == []


def test_a_security_context_cannot_be_left_away_and_what_is_added_has_one() -> None:
    made = hardened({"spec": {"containers": [{"name": "step"}], "initContainers": [{"name": "proxy"}]}})
    assert named(made) == []
    assert made["spec"]["initContainers"][0]["securityContext"]["allowPrivilegeEscalation"] is False


@pytest.mark.parametrize("nonsense", [7, "x", ["x"], None])
def test_what_is_of_no_form_is_no_way_around(nonsense: Any) -> None:
    assert named(pod({"securityContext": nonsense})) != [] or nonsense is None
    assert named(pod(container(securityContext=nonsense, lifecycle=nonsense, livenessProbe=nonsense))) == []
