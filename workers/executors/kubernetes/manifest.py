"""The pod of an attempt: a manifest made of the step document, its containers and the templates. Pure.

Three layers, each patched onto the one before: what we would choose (a pod that passes the *restricted* Pod Security
Standard), what the templates want, and what must be so for the attempt to be known, run once and end. Only fields that
Kubernetes 1.30 and all later versions know.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Any

from app.cluster_config import ClusterConfig
from app.pod_security import CONTAINER_CONTEXT, POD_CONTEXT, hardened
from celesta.command import FOLDER
from celesta.pod_template import merge
from workers.executors.containers import Container
from workers.executors.kubernetes.labels import metadata, pod_name

Document = dict[str, Any]

VOLUME = "celesta"
START_SECONDS = 60
"""Of a pod's deadline, beside the time for its images. It counts from when a node took the pod, and is the last resort:
the runtime measures the time-out of a Python task, and the watcher that of a command, from its own start."""
HELPER_REQUESTS, HELPER_MEMORY_BYTES = {"cpu": "50m", "memory": "64Mi"}, 512 << 20
"""Of the containers beside the step's own: what they ask for, and the least that they may use. Values that are JSON may
take hundreds of times the memory of their text, so that a step with more memory gives its helpers as much."""
HELPER_MOST_BYTES = 4 << 30
"""What a helper gets at most. The quota of a namespace counts a sidecar's limit beside the step's own: were it as high,
a step that asks for more than half of the quota would never be admitted."""


def pod_manifest(
    document: Mapping[str, Any],
    containers: Iterable[Container],
    config: ClusterConfig,
    templates: Iterable[Document] = (),
) -> Document:
    """The manifest under which the attempt is created; the same for the same arguments."""
    made = list(containers)
    wanted = reduce(merge, [_chosen(document, made, config), *templates])
    return dict(merge(hardened(wanted), _essential(document, made, config)))


def _chosen(document: Mapping[str, Any], containers: list[Container], config: ClusterConfig) -> Document:
    asked = document.get("resources") or {}
    most = str(min(max(HELPER_MEMORY_BYTES, int(asked.get("memory_bytes") or 0)), HELPER_MOST_BYTES))
    helper, step = {"requests": HELPER_REQUESTS, "limits": {"memory": most}}, _resources(asked, config)
    ours = {container.image for container in containers if container.role != "main" or not document.get("image")}
    return {
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": config.grace_seconds,
            "securityContext": POD_CONTEXT,
            **_by_role(
                containers,
                lambda container: {
                    "name": container.name,
                    "resources": step if container.role == "main" else helper,
                    "securityContext": CONTAINER_CONTEXT,
                    # Of `latest` a cluster asks a registry each time, where a loaded image is not found.
                    **({"imagePullPolicy": "IfNotPresent"} if container.image in ours else {}),
                },
            ),
        },
    }


def _essential(document: Mapping[str, Any], containers: list[Container], config: ClusterConfig) -> Document:
    secrets = [_secret(name, config.secrets_name) for name in document.get("secrets") or {}]
    spec: Document = {
        "restartPolicy": "Never",
        "volumes": [{"name": VOLUME, "emptyDir": {}}],
        **_by_role(containers, lambda container: _container(container, secrets)),
    }
    if seconds := document.get("timeout_seconds"):
        spec["activeDeadlineSeconds"] = math.ceil(seconds + config.image_seconds) + START_SECONDS
    name = pod_name(document["run"], document["node"], document["token"])
    namespace = config.namespace_of(document["project"])
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, **metadata(document, config.deployment)},
        "spec": spec,
    }


def _by_role(containers: list[Container], render: Any) -> Document:
    """Init containers and sidecars in the order in which they start, and the step's own container."""
    before = [render(container) for container in containers if container.role != "main"]
    return {
        **({"initContainers": before} if before else {}),
        "containers": [render(container) for container in containers if container.role == "main"],
    }


def _container(container: Container, secrets: list[Document]) -> Document:
    env = [{"name": name, "value": _literal(value)} for name, value in sorted(container.env.items())]
    rendered: Document = {
        "name": container.name,
        "image": container.image,
        "env": env + (secrets if container.role == "main" else []),
        "volumeMounts": [{"name": VOLUME, "mountPath": FOLDER}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if container.command:
        rendered["command"] = [_literal(word) for word in container.command]
    if container.role == "sidecar":
        rendered["restartPolicy"] = "Always"
    if container.ready:
        rendered["startupProbe"] = {"exec": {"command": container.ready}, "periodSeconds": 1, "failureThreshold": 600}
    return rendered


def _literal(text: str) -> str:
    """As a command or the value of a variable: there `$(NAME)` would stand for a variable, and `$$` for a dollar."""
    return text.replace("$", "$$")


def _secret(name: str, secret: str) -> Document:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": name}}}


def _resources(asked: Mapping[str, Any], config: ClusterConfig) -> Document:
    """Memory, disk and devices are limits as well: who uses more is ended. Idle processor time is anyone's."""
    sizes = {"memory": asked.get("memory_bytes"), "ephemeral-storage": asked.get("storage_bytes")}
    limits = {name: str(int(size)) for name, size in sizes.items() if size}
    if asked.get("gpu"):
        limits[config.gpu_resource] = str(int(asked["gpu"]))
    requests = {**({"cpu": f"{math.ceil(asked['cpu'] * 1000)}m"} if asked.get("cpu") else {}), **limits}
    return {name: group for name, group in (("requests", requests), ("limits", limits)) if group}
