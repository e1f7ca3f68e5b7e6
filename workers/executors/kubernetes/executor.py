"""The executor that launches pods. `submit` creates one and returns; the watcher says when it has ended.

Made once in each worker child, and in the reconciler, which asks it what became of a pod. Refuses, as the result of the
attempt, what no cluster could run. What may fit or succeed later (a quota that is used up, an API server that is busy)
is put off for as long as an unschedulable pod would be waited for.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from typing import ClassVar, TypeVar

from app.config import Config
from app.services.pod_check import require_template
from celesta.errors import CelestaError
from celesta.runtime import verdicts
from celesta.runtime.call import blank_result
from celesta.runtime.failures import error_document, kind_of
from celesta.store import open_store
from workers.executors.base import Capabilities, Document, Executor, Later, OnLog, OnMetrics
from workers.executors.containers import STEP, containers_of
from workers.executors.kubernetes import causes
from workers.executors.kubernetes.cluster import Cluster, Refused
from workers.executors.kubernetes.endings import MOST_LOG_BYTES, conclude, has_ended
from workers.executors.kubernetes.labels import attempt_of, pod_name
from workers.executors.kubernetes.manifest import pod_manifest
from workers.executors.kubernetes.templates import check, project_template, spot_template

AGAIN_SECONDS = 5.0
REMEMBERED = 4096
"""Attempts of which this process knows the namespace, or since when they are put off."""

Key = tuple[str, str, str]
T = TypeVar("T")


class KubernetesExecutor(Executor):
    """One pod per attempt."""

    capabilities: ClassVar[Capabilities] = Capabilities(images=True, containers=True, asynchronous=True, live_logs=True)

    def __init__(self, config: Config, on_log: OnLog | None = None, on_metrics: OnMetrics | None = None) -> None:
        super().__init__(config, on_log, on_metrics)
        self.config: Config = config
        self._store = open_store(config.store_url, config.s3_endpoint_url)
        self._namespaces: OrderedDict[Key, str] = OrderedDict()
        self._put_off: OrderedDict[Key, float] = OrderedDict()
        self._lock = threading.Lock()
        self._pid = 0
        self._connection: Cluster | None = None

    @property
    def cluster(self) -> Cluster:
        """The connection of this process. Raises `ConfigError` when there is no cluster to be found."""
        if self._connection is None or self._pid != os.getpid():
            self._connection, self._pid = Cluster(self.config.cluster), os.getpid()
        return self._connection

    def submit(self, document: Document) -> Document | None:
        """Creates the pod of the attempt, or finds that it is there; a result only where that cannot be."""
        key = (document["run"], document["node"], document["token"])
        namespace = self.config.cluster.namespace_of(document["project"])
        self._remember(self._namespaces, key, namespace)
        try:
            self._create(namespace, self.manifest(document))
        except Refused as error:
            if causes.may_fit_later(error):
                return self._later(key, document, causes.refusal(error, namespace))
            return self._fail(document, causes.refusal(error, namespace))
        except CelestaError as error:
            told = error_document(error, kind_of(error))
            return self._later(key, document, told) if error.retryable else self._fail(document, told)
        self._put_off.pop(key, None)
        return None

    def manifest(self, document: Document) -> Document:
        """The pod of this attempt. Raises `InputError`, `ConfigError`, `StoreError`."""
        cluster = self.config.cluster
        templates = [project_template(cluster.pod_templates, document["project"])]
        if document.get("interruptible"):
            templates.append(spot_template(cluster.pod_templates))
        if document.get("pod_template"):
            theirs = check(document["pod_template"], f"pod_template of step {document['path']!r}")
            require_template(theirs, cluster, document["project"], "pod_template")
            templates.append(theirs)
        return pod_manifest(document, containers_of(document, self.config, self._store), cluster, templates)

    def cancel(self, run: str, node: str, token: str) -> bool:
        """Has the pod of this attempt end within its grace period. Only of one that this process launched."""
        namespace = self._namespaces.get((run, node, token))
        return namespace is not None and self.cluster.delete_pod(namespace, pod_name(run, node, token))

    def logs(self, run: str, node: str, token: str, offset: int = 0) -> bytes | None:
        """What the step has written so far; None where this process did not launch it, or it has not started."""
        namespace = self._namespaces.get((run, node, token))
        if namespace is None:
            return None
        data = self.cluster.log(namespace, pod_name(run, node, token), STEP, MOST_LOG_BYTES)
        return None if data is None else data[offset:]

    def reconcile(self, attempt: Document) -> Document | None:
        """What became of a pod: None while it is there and has not ended."""
        namespace = self.config.cluster.namespace_of(attempt["project"])
        name = pod_name(attempt["run"], attempt["node"], attempt["token"])
        pod = self.cluster.pod(namespace, name)
        if pod is None:
            return blank_result(attempt) | {"error": verdicts.lost(f"the pod {namespace}/{name} is gone")}
        known = attempt_of(pod)
        if known is None or not has_ended(pod):
            return None
        return conclude(self.cluster, self._store, pod, known)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _create(self, namespace: str, manifest: Document) -> None:
        try:
            self.cluster.create_pod(namespace, manifest)
        except Refused as error:
            if error.status != 409 or error.reason != "AlreadyExists":
                raise

    def _later(self, key: Key, document: Document, told: Document) -> Document:
        """Puts the attempt off; the failure it comes to when that was done for too long."""
        since = self._put_off.get(key, time.monotonic())
        self._remember(self._put_off, key, since)
        if time.monotonic() - since < self.config.cluster.unschedulable_seconds:
            raise Later(AGAIN_SECONDS, told["message"])
        self._put_off.pop(key, None)
        return self._fail(document, told)

    def _fail(self, document: Document, error: Document) -> Document:
        return verdicts.conclude(document, self._store, error, None, time.monotonic(), "")

    def _remember(self, kept: OrderedDict[Key, T], key: Key, value: T) -> None:
        with self._lock:
            kept[key] = value
            while len(kept) > REMEMBERED:
                kept.popitem(last=False)
