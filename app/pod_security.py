"""The Pod Security Standards, as the fields of a pod that break them. Pure; the words are those of Kubernetes.

The executor gives every container what the standard *restricted* wants (`hardened`), and what a task's author asks for
beyond that is held against the standard that the operator chose (`breaches`): at a registration, at a launch, and again
where the pod is made. Says nothing about fields that no standard names. https://k8s.io/docs/concepts/security/pod-security-standards
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from celesta.errors import Problem

Document = dict[str, Any]
Breach = tuple[str, Problem]
"""The least standard that forbids it, and what it is."""

STANDARDS = ("restricted", "baseline", "privileged")
"""From the strictest; each allows what those before it allow."""
CONTAINERS = ("initContainers", "containers")
USER = 1000
POD_CONTEXT: Document = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_CONTEXT: Document = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
_PLAIN_VOLUMES = frozenset(
    (
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    )
)
_BASELINE_CAPABILITIES = frozenset(
    (
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    )
)
_SYSCTLS = frozenset(
    (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    )
)
_SELINUX_TYPES = frozenset((None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"))
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_PROFILES = ("RuntimeDefault", "Localhost")
_HANDLERS = ("livenessProbe", "readinessProbe", "startupProbe", "postStart", "preStop")


def hardened(pod: Document) -> Document:
    """The pod, with what *restricted* wants wherever nobody said otherwise; the pod itself is not changed.

    A template cannot take a security context away by null, and a container that it adds has one as well.
    """
    spec = {**pod["spec"], "securityContext": pod["spec"].get("securityContext", POD_CONTEXT)}
    for group in CONTAINERS:
        if spec.get(group):
            spec[group] = [_hardened(container) for container in spec[group]]
    return {**pod, "spec": spec}


def _hardened(container: Document) -> Document:
    own = fields_of(container.get("securityContext"))
    return {**container, "securityContext": own if own.get("privileged") else {**CONTAINER_CONTEXT, **own}}


def breaches(pod: Mapping[str, Any], standard: str) -> Iterator[Problem]:
    """Every field of a pod that this standard forbids, and what it would have to be."""
    allowed = STANDARDS.index(standard)
    for broken, problem in _all(pod):
        if STANDARDS.index(broken) >= allowed:
            yield problem


def _all(pod: Mapping[str, Any]) -> Iterator[Breach]:
    spec = pod["spec"]
    whole = fields_of(spec["securityContext"])
    yield from _of_the_pod(spec, whole)
    yield from _of_context(whole, "spec.securityContext")
    yield from _of_volumes(spec)
    for key, value in fields_of(fields_of(pod.get("metadata")).get("annotations")).items():
        if key.startswith(_APPARMOR) and value != "runtime/default" and not str(value).startswith("localhost/"):
            yield "baseline", Problem(f"metadata.annotations[{key}]", "must be runtime/default or localhost/…")
    for group in CONTAINERS:
        for container in spec.get(group) or ():
            where = f"spec.{group}[{container['name']}]"
            yield from _of_container(container, where)
            yield from _of_context(container["securityContext"], f"{where}.securityContext")
            yield from _restricted(whole, container["securityContext"], f"{where}.securityContext")


def _of_the_pod(spec: Mapping[str, Any], context: Mapping[str, Any]) -> Iterator[Breach]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield "baseline", Problem(f"spec.{name}", "is the node's own, and must be left out")
    if spec.get("nodeName"):
        yield "baseline", Problem("spec.nodeName", "goes past the scheduler and taints; use nodeSelector or affinity")
    for sysctl in _list(context.get("sysctls")):
        if (found := fields_of(sysctl).get("name")) not in _SYSCTLS:
            yield "baseline", Problem(f"spec.securityContext.sysctls[{found}]", "is no safe one")


def _of_volumes(spec: Mapping[str, Any]) -> Iterator[Breach]:
    for volume in spec.get("volumes") or ():
        for kind in sorted(volume.keys() - _PLAIN_VOLUMES - {"name"}):
            level = "baseline" if kind == "hostPath" else "restricted"
            kinds = ", ".join(sorted(_PLAIN_VOLUMES))
            yield level, Problem(f"spec.volumes[{volume['name']}].{kind}", f"is none of {kinds}")


def _of_container(container: Mapping[str, Any], where: str) -> Iterator[Breach]:
    for port in container.get("ports") or ():
        if port.get("hostPort"):
            yield "baseline", Problem(f"{where}.ports[{port['containerPort']}].hostPort", "must be left out")
    handlers = {**container, **fields_of(container.get("lifecycle"))}
    for name in _HANDLERS:
        for action in ("httpGet", "tcpSocket"):
            if fields_of(fields_of(handlers.get(name)).get(action)).get("host"):
                yield "baseline", Problem(f"{where}.{name}.{action}.host", "must be left out")


def _of_context(context: Mapping[str, Any], where: str) -> Iterator[Breach]:
    """What a pod's and a container's security context have in common, and what only the one or the other can have."""
    if context.get("privileged"):
        yield "baseline", Problem(f"{where}.privileged", "must be false")
    if fields_of(context.get("windowsOptions")).get("hostProcess"):
        yield "baseline", Problem(f"{where}.windowsOptions.hostProcess", "must be false")
    if context.get("procMount") not in (None, "Default"):
        yield "baseline", Problem(f"{where}.procMount", "must be Default")
    for name in ("seccompProfile", "appArmorProfile"):
        if fields_of(context.get(name)).get("type", _PROFILES[0]) not in _PROFILES:
            yield "baseline", Problem(f"{where}.{name}.type", f"must be {' or '.join(_PROFILES)}")
    linux = fields_of(context.get("seLinuxOptions"))
    if linux.get("type") not in _SELINUX_TYPES or linux.get("user") or linux.get("role"):
        yield "baseline", Problem(f"{where}.seLinuxOptions", "may have the type of a container, and no user or role")
    added = {str(name) for name in _list(fields_of(context.get("capabilities")).get("add"))}
    for name in sorted(added - {"NET_BIND_SERVICE"}):
        level = "restricted" if name in _BASELINE_CAPABILITIES else "baseline"
        yield level, Problem(f"{where}.capabilities.add[{name}]", "must not be added")
    if context.get("runAsUser") == 0:
        yield "restricted", Problem(f"{where}.runAsUser", "must not be 0")


def _restricted(pod: Mapping[str, Any], context: Mapping[str, Any], where: str) -> Iterator[Breach]:
    """What *restricted* wants to be said of each container, by itself or for the whole pod."""
    if context.get("allowPrivilegeEscalation") is not False:
        yield "restricted", Problem(f"{where}.allowPrivilegeEscalation", "must be false")
    if "ALL" not in _list(fields_of(context.get("capabilities")).get("drop")):
        yield "restricted", Problem(f"{where}.capabilities.drop", "must have ALL")
    if context.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
        yield "restricted", Problem(f"{where}.runAsNonRoot", "must be true, here or of the whole pod")
    if not (context.get("seccompProfile") or pod.get("seccompProfile")):
        yield "restricted", Problem(f"{where}.seccompProfile", "must be set, here or of the whole pod")


def fields_of(value: Any) -> Mapping[str, Any]:
    """What is no object says nothing here; the cluster refuses it."""
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
