"""The part of the configuration that is about a Kubernetes cluster; `app.config` reads it with all the rest.

Where pods go and what they are called, how eagerly its API is asked, and for how long trouble is waited out.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.pod_security import STANDARDS

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
RESOURCE = re.compile(r"([a-z0-9.-]+/)?[A-Za-z0-9._-]+")


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """What the Kubernetes executor and the watcher need to know."""

    namespace: str = "celesta-{project}"
    """Namespace of a project's pods. Without `{project}` all projects share one, and tenants are not apart."""
    deployment: str = "celesta"
    """Value of a label on all our pods: two deployments that share a cluster leave each other's pods alone."""
    kubeconfig: str | None = None
    """Path of the kubeconfig; kubectl's own default otherwise."""
    context: str | None = None
    """Context of the kubeconfig; its current one otherwise. Inside a cluster none is needed."""
    pod_templates: Path | None = None
    """Folder of pod templates: `<project>.yaml`, else `default.yaml`; `spot.yaml` for interruptible steps."""
    pod_security: str = STANDARDS[0]
    """The Pod Security Standard that a task's own template must keep to: `restricted`, `baseline` or `privileged`."""
    pod_objects: tuple[str, ...] | None = None
    """Patterns of the service accounts, Secrets, ConfigMaps and volume claims that a task's own template may name, with
    `{project}` for the project. None: all of a namespace that is the project's own, and none of a shared one."""
    secrets_name: str = "celesta-secrets"
    """The Secret in a project's namespace that holds the secrets of its tasks, each under its name."""
    gpu_resource: str = "nvidia.com/gpu"
    """The extended resource by which a device is asked for."""
    requests_per_second: float = 100.0
    """Of one process to the API server, with a burst of two seconds' worth."""
    unschedulable_seconds: float = 600.0
    """A pod that no node takes, or whose node has no volume or network for it, is given up after this: a cluster may
    need minutes to add a node, or to take a volume from one that is lost."""
    image_seconds: float = 180.0
    """A pod whose image cannot be pulled is given up after this: a registry may be away for a moment."""
    keep_seconds: float = 600.0
    """Ended pods stay this long, for people with kubectl."""
    grace_seconds: int = 30
    """How long a pod has to end once it is told to."""

    def namespace_of(self, project: str) -> str:
        return self.namespace.replace("{project}", project)

    def objects_of(self, project: str) -> tuple[str, ...]:
        """Patterns of the objects that a template of this project's tasks may name."""
        if self.pod_objects is None:
            return ("*",) if "{project}" in self.namespace else ()
        return tuple(pattern.replace("{project}", project) for pattern in self.pod_objects)


def read_cluster(read: Callable[[str, Any, Callable[[str], Any]], Any], at_least: Any) -> ClusterConfig:
    """The cluster's part, by the reader of `app.config`, which keeps what is wrong."""
    fallback = ClusterConfig()
    return ClusterConfig(
        namespace=read("CELESTA_NAMESPACE", fallback.namespace, _namespace),
        deployment=read("CELESTA_DEPLOYMENT", fallback.deployment, _label),
        kubeconfig=read("KUBECONFIG", None, str),
        context=read("CELESTA_KUBE_CONTEXT", None, str),
        pod_templates=read("CELESTA_POD_TEMPLATES", None, _folder),
        pod_security=read("CELESTA_POD_SECURITY", fallback.pod_security, _standard),
        pod_objects=read("CELESTA_POD_OBJECTS", None, _patterns),
        secrets_name=read("CELESTA_SECRETS_NAME", fallback.secrets_name, _label),
        gpu_resource=read("CELESTA_GPU_RESOURCE", fallback.gpu_resource, _resource),
        requests_per_second=read("CELESTA_KUBE_RATE", fallback.requests_per_second, at_least(float, 1.0)),
        unschedulable_seconds=read("CELESTA_UNSCHEDULABLE_SECONDS", fallback.unschedulable_seconds, at_least(float, 0)),
        image_seconds=read("CELESTA_IMAGE_SECONDS", fallback.image_seconds, at_least(float, 0)),
        keep_seconds=read("CELESTA_KEEP_PODS_SECONDS", fallback.keep_seconds, at_least(float, 0)),
        grace_seconds=read("CELESTA_POD_GRACE_SECONDS", fallback.grace_seconds, at_least(int, 1)),
    )


def _namespace(text: str) -> str:
    if not LABEL.fullmatch(text.replace("{project}", "x")):
        raise ValueError(f"wants the name of a namespace, in which {{project}} may stand, not {text!r}")
    return text


def _label(text: str) -> str:
    if not LABEL.fullmatch(text):
        raise ValueError(f"wants small letters, digits and hyphens, at most 63, not {text!r}")
    return text


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise ValueError(f"wants a folder; there is none at {text}")
    return path


def _standard(text: str) -> str:
    if text not in STANDARDS:
        raise ValueError(f"wants one of {', '.join(STANDARDS)}, not {text!r}")
    return text


def _patterns(text: str) -> tuple[str, ...]:
    return tuple(pattern for part in text.split(",") if (pattern := part.strip()))


def _resource(text: str) -> str:
    if not RESOURCE.fullmatch(text):
        raise ValueError(f"wants the name of a resource, such as nvidia.com/gpu, not {text!r}")
    return text
