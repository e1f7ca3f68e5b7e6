"""How a pod names the attempt that it is: its name, its labels, and the way back from a pod to the attempt.

The name follows from run, node and token, so that creating a pod twice is harmless. The labels are all that the watcher
needs to know of an attempt; nothing else is kept about a pod anywhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]

PLACE = "kubernetes"
"""What the engine calls the executor that owns these pods."""
MANAGED = "app.kubernetes.io/managed-by"
DOMAIN = "celesta.dev"
DEPLOYMENT, PROJECT, RUN, TOKEN, KIND = (
    f"{DOMAIN}/{name}" for name in ("deployment", "project", "run", "token", "kind")
)
NODE, PATH, CACHE_KEY, TIMEOUT = (f"{DOMAIN}/{name}" for name in ("node", "path", "cache-key", "timeout-seconds"))
"""Annotations: a label has no room for them."""
NAME_CHARACTERS = 63
"""A pod's name is its host name as well."""
VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Attempt:
    """The attempt that a pod is."""

    project: str
    run: str
    node: str
    token: str
    path: str
    kind: str = "python"
    cache_key: str | None = None
    timeout_seconds: float | None = None

    @property
    def document(self) -> Document:
        """As much of the step document as a result needs."""
        return {name: getattr(self, name) for name in ("project", "run", "node", "path", "token", "kind")}


def pod_name(run: str, node: str, token: str) -> str:
    """The same for the same attempt, always; another for any other."""
    plain = f"step-{run}-{node}-{token}".replace("/", "-x-").replace(".", "-")
    if len(plain) <= NAME_CHARACTERS:
        return plain
    digest = hashlib.sha256(f"{node} {token}".encode()).hexdigest()
    return f"step-{run}-{digest}"[:NAME_CHARACTERS]


def selector(deployment: str) -> str:
    """The label selector of all pods of a deployment."""
    return f"{MANAGED}=celesta,{DEPLOYMENT}={deployment}"


def metadata(document: Mapping[str, Any], deployment: str) -> Document:
    """Labels and annotations of an attempt's pod. What people gave as labels and cannot be one is an annotation."""
    labels = {
        MANAGED: "celesta",
        DEPLOYMENT: deployment,
        PROJECT: document["project"],
        RUN: document["run"],
        TOKEN: document["token"],
        KIND: document["kind"],
    }
    annotations = {NODE: document["node"], PATH: document["path"]}
    if document.get("cache_key"):
        annotations[CACHE_KEY] = document["cache_key"]
    if document.get("timeout_seconds"):
        annotations[TIMEOUT] = f"{document['timeout_seconds']:g}"
    for key, value in (document.get("labels") or {}).items():
        if KEY.fullmatch(key) and key not in labels:
            (labels if VALUE.fullmatch(value) else annotations).setdefault(key, value)
    return {"labels": labels, "annotations": annotations}


def attempt_of(pod: Mapping[str, Any]) -> Attempt | None:
    """The way back; None for a pod that only looks like ours."""
    labels = pod["metadata"].get("labels") or {}
    annotations = pod["metadata"].get("annotations") or {}
    if not {PROJECT, RUN, TOKEN} <= labels.keys() or not {NODE, PATH} <= annotations.keys():
        return None
    return Attempt(
        labels[PROJECT], labels[RUN], annotations[NODE], labels[TOKEN],
        annotations[PATH], labels.get(KIND, "python"), annotations.get(CACHE_KEY),
        _seconds(annotations.get(TIMEOUT)),
    )  # fmt: skip


def _seconds(text: str | None) -> float | None:
    try:
        return float(text or "") or None
    except ValueError:
        return None
