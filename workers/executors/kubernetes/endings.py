"""The end of an attempt in a pod: its result document, durable in the store, whoever has to write it.

Called by the watcher for each pod that ended, was deleted or is given up, and by `KubernetesExecutor.reconcile` for one
of which nobody spoke. What the pod wrote itself counts; else a container task that ended well is concluded from its
outputs, and for all others the cluster says why they ended, with the pod's last events. The log is kept in any case.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from app.services.step_access import DOCUMENT
from celesta.runtime.call import blank_result
from celesta.runtime.leave import create_result, read_result
from celesta.store import Store, step_prefix
from celesta.store.base import result_key
from workers.executors import containers
from workers.executors.kubernetes.causes import cause_of, ended_well, event_lines, overstays
from workers.executors.kubernetes.cluster import Cluster, ClusterError
from workers.executors.kubernetes.labels import Attempt

log = logging.getLogger(__name__)

Document = dict[str, Any]
ENDED = frozenset(("Succeeded", "Failed"))
MOST_LOG_BYTES = 64 * 2**20


def has_ended(pod: Mapping[str, Any]) -> bool:
    """Whether all of the pod's containers have ended, for good."""
    return (pod.get("status") or {}).get("phase") in ENDED


def speaks_for_itself(pod: Mapping[str, Any], attempt: Attempt) -> bool:
    """Whether the attempt's program ended well, and so has left its result itself before it did."""
    return attempt.kind != "container" and (pod.get("status") or {}).get("phase") == "Succeeded"


def conclude(
    cluster: Cluster,
    store: Store,
    pod: Mapping[str, Any],
    attempt: Attempt,
    *,
    deleted: bool = False,
    error: Document | None = None,
) -> Document:
    """The result document that counts. `error` says why a pod is given up that has not ended.

    Raises `StoreError`: then nothing is concluded.
    """
    existing = read_result(store, result_key(attempt.run, attempt.path, attempt.token))
    if existing is not None:
        return existing
    log_bytes = 0 if deleted else keep_log(cluster, store, pod, attempt)
    document = _document(store, attempt)
    if error is None and attempt.kind == "container" and ended_well(pod):
        return containers.conclude(document, store, log_bytes=log_bytes)
    result = blank_result(document, _place(pod))
    result["log_bytes"] = log_bytes
    result["error"] = {**(error or cause_of(pod, attempt.kind, deleted)), "events": _events(cluster, pod)}
    result["timings"]["started_ms"] = _started_ms(pod) or result["timings"]["started_ms"]
    return create_result(result, store)


def keep_log(cluster: Cluster, store: Store, pod: Mapping[str, Any], attempt: Attempt) -> int:
    """Keeps what the containers wrote where the attempt has left no log itself; how long the log is.

    There is none of a node that does not answer, or where we have no right to: no end waits for a log.
    Raises `StoreError`.
    """
    key = f"{step_prefix(attempt.run, attempt.path, attempt.token)}log.txt"
    kept = store.size(key)
    if kept or overstays(pod):
        return kept or 0
    data = _log(cluster, pod)
    if data:
        store.put(key, data)
    return len(data)


def _log(cluster: Cluster, pod: Mapping[str, Any]) -> bytes:
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    try:
        for container in (containers.STEP, containers.RUNTIME):  # one that never started left its reason to the other
            if data := cluster.log(namespace, name, container, MOST_LOG_BYTES):
                return data
    except ClusterError as error:
        log.warning("the log of pod %s cannot be kept: %s", name, error)
    return b""


def _document(store: Store, attempt: Attempt) -> Document:
    """The step document, which was written before the launch; as much of it as the pod tells where that is missing."""
    data = store.get(f"{step_prefix(attempt.run, attempt.path, attempt.token)}{DOCUMENT}")
    return dict(json.loads(data)) if data else attempt.document


def _events(cluster: Cluster, pod: Mapping[str, Any]) -> list[str]:
    with contextlib.suppress(ClusterError):
        return event_lines(cluster.events_of(pod["metadata"]["namespace"], pod["metadata"]["uid"]))
    return []


def _place(pod: Mapping[str, Any]) -> str:
    node = (pod.get("spec") or {}).get("nodeName")
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}{f' on {node}' if node else ''}"


def _started_ms(pod: Mapping[str, Any]) -> int | None:
    moment = (pod.get("status") or {}).get("startTime")
    return int(datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp() * 1000) if moment else None
