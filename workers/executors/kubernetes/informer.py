"""What is known of the pods of one namespace: listed once, then followed by a watch, and listed again when that breaks.

A thread of the watcher. Whoever listens is told of every pod that is new, has changed or is gone, and of a change that
was missed at the next listing. Keeps of each pod only what the watcher reads.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from workers.executors.kubernetes.cluster import Cluster, ClusterError, Refused

log = logging.getLogger(__name__)

Document = dict[str, Any]
Listener = Callable[[Document, bool], None]
"""Takes a pod, and whether it is gone."""

WATCH_SECONDS = 50
"""A watch is begun anew after this: a connection that died without a word goes unnoticed no longer."""
LIST_AGAIN_SECONDS = 600.0
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
GONE = 410
METADATA = (
    "name", "namespace", "uid", "labels", "annotations",
    "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
)  # fmt: skip
SPEC = ("nodeName", "activeDeadlineSeconds")


class Informer(threading.Thread):
    """Follows the pods of a namespace until it is told to stop."""

    def __init__(self, cluster: Cluster, namespace: str, selector: str, tell: Listener) -> None:
        super().__init__(name=f"pods of {namespace}", daemon=True)
        self.namespace = namespace
        self.pods: dict[str, Document] = {}
        """By name; a listing replaces it, so that readers need no lock."""
        self.stop = threading.Event()
        self._cluster = cluster
        self._selector = selector
        self._tell = tell
        self._pause = SHORTEST_PAUSE_SECONDS

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                self._list_and_follow()
            except ClusterError as error:
                if isinstance(error, Refused) and error.status == GONE:
                    log.info("the watch of %s is too old; listing again", self.namespace)
                    continue
                if self.stop.is_set():
                    return
                log.warning("the pods of namespace %s cannot be followed now: %s", self.namespace, error)
                self.stop.wait(self._pause)
                self._pause = min(LONGEST_PAUSE_SECONDS, 2 * self._pause)

    def _list_and_follow(self) -> None:
        listed, version = self._cluster.pods(self.namespace, self._selector)
        self._replace([_slim(pod) for pod in listed])
        self._pause = SHORTEST_PAUSE_SECONDS
        until = time.monotonic() + LIST_AGAIN_SECONDS
        while not self.stop.is_set() and time.monotonic() < until:
            version = self._follow(version)

    def _replace(self, listed: list[Document]) -> None:
        now = {pod["metadata"]["name"]: pod for pod in listed}
        before, self.pods = self.pods, now
        for name, pod in before.items():
            if name not in now or now[name]["metadata"]["uid"] != pod["metadata"]["uid"]:
                self._tell(pod, True)
        for pod in listed:
            self._tell(pod, False)

    def _follow(self, version: str) -> str:
        """One watch, to its end; the version from which the next goes on. Raises `ClusterError`."""
        for event in self._cluster.watch_pods(self.namespace, self._selector, version, WATCH_SECONDS):
            if self.stop.is_set():
                break
            if event["type"] == "ERROR":
                status = event["object"]
                raise Refused(str(status.get("message")), int(status.get("code") or 500), str(status.get("reason")))
            version = event["object"]["metadata"]["resourceVersion"]
            if event["type"] != "BOOKMARK":
                self._note(_slim(event["object"]), event["type"] == "DELETED")
        return version

    def _note(self, pod: Document, gone: bool) -> None:
        if gone:
            self.pods.pop(pod["metadata"]["name"], None)
        else:
            self.pods[pod["metadata"]["name"]] = pod
        self._tell(pod, gone)


def _slim(pod: Document) -> Document:
    """A pod has several kB, most of which says how it came about."""
    metadata = {name: pod["metadata"][name] for name in METADATA if name in pod["metadata"]}
    spec = {name: pod["spec"][name] for name in SPEC if name in (pod.get("spec") or {})}
    return {"metadata": metadata, "spec": spec, "status": pod.get("status") or {}}
