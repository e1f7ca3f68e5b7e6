"""The API of a cluster, as this package uses it: a few verbs on pods, their logs and their events, with manners.

The only module that talks to the Kubernetes client. Documents are plain JSON both ways: the client's models cost more
than the request. A process asks at a bounded rate; what is busy or fails for a moment (429, 5xx, no connection) is
asked again with growing pauses, as long as the server says, and never for ever.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes import client as kube
from kubernetes import config as kube_config

from app.cluster_config import ClusterConfig
from celesta.errors import CelestaError, ConfigError

Document = dict[str, Any]

CONNECT_SECONDS, READ_SECONDS = 3.0, 10.0
PAUSES_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0)
LONGEST_PAUSE_SECONDS = 10.0
PAGE = 500
BUSY = frozenset((429, 500, 502, 503, 504))
FAILURES = (urllib3.exceptions.HTTPError, OSError)
"""Of the way to the server."""


class ClusterError(CelestaError):
    """The cluster does not answer, or is too busy: nothing may be concluded."""

    code = "cluster_unavailable"
    kind = "system"
    retryable = True

    def __init__(self, message: str, wait_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


class Refused(ClusterError):
    """The cluster answered, and the answer is no. `status` and `reason` are its own."""

    code = "cluster_refused"
    retryable = False

    def __init__(self, message: str, status: int, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class Cluster:
    """A connection pool and a pace. Safe to use from several threads; made anew in a fork."""

    def __init__(self, config: ClusterConfig, connections: int = 16) -> None:
        self._client = kube.ApiClient(_configuration(config, connections))
        self._pace = Pace(config.requests_per_second)

    def close(self) -> None:
        self._client.close()

    # Pods

    def create_pod(self, namespace: str, manifest: Document) -> None:
        """Raises `Refused`; status 409 when a pod of this name is there already."""
        self._ask("POST", f"/api/v1/namespaces/{namespace}/pods", body=manifest)

    def pod(self, namespace: str, name: str) -> Document | None:
        return self._found("GET", f"/api/v1/namespaces/{namespace}/pods/{name}")

    def delete_pod(self, namespace: str, name: str, uid: str | None = None) -> bool:
        """Has the pod end within its grace period. False: it was not there (any more), or is another of its name."""
        body: Document = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid:
            body["preconditions"] = {"uid": uid}
        try:
            self._json("DELETE", f"/api/v1/namespaces/{namespace}/pods/{name}", body=body)
        except Refused as refusal:
            if refusal.status in (404, 409):
                return False
            raise
        return True

    def pods(self, namespace: str, selector: str) -> tuple[list[Document], str]:
        """All pods under a label selector, in pages, and the version from which a watch goes on."""
        items: list[Document] = []
        query = {"labelSelector": selector, "limit": str(PAGE)}
        while True:
            page = self._json("GET", f"/api/v1/namespaces/{namespace}/pods", query)
            items += page["items"]
            metadata = page["metadata"]
            if not metadata.get("continue"):
                return items, str(metadata.get("resourceVersion") or "")
            query["continue"] = metadata["continue"]

    def watch_pods(self, namespace: str, selector: str, version: str, seconds: int) -> Iterator[Document]:
        """Events of pods since `version`, with bookmarks, until the server ends the watch after about `seconds`."""
        query = {
            "labelSelector": selector,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
        }
        path = f"/api/v1/namespaces/{namespace}/pods"
        with self._stream(path, query, read_seconds=seconds + READ_SECONDS) as lines:
            for line in lines:
                yield json.loads(line)

    # What an administrator applies

    def apply(self, path: str, document: Document) -> None:
        """Makes the object at this path, or makes it what the document says of it (server-side apply)."""
        self._json("PATCH", path, {"fieldManager": "celesta", "force": "true"}, document)

    # What a pod tells

    def log(self, namespace: str, name: str, container: str, most_bytes: int) -> bytes | None:
        """What a container has written, from its beginning on; None when there is nothing (any more).

        Its node is asked, and may not be there: what fails is asked once more, and no longer waited for.
        """
        query = {"container": container, "limitBytes": str(most_bytes)}
        try:
            return self._ask("GET", f"/api/v1/namespaces/{namespace}/pods/{name}/log", query, pauses=PAUSES_SECONDS[:1])
        except Refused as refusal:
            if refusal.status in (400, 404):  # 400: the container has not started
                return None
            raise

    def follow_log(self, namespace: str, name: str, container: str, seconds: float) -> Iterator[bytes]:
        """The container's log from its beginning, as it is written; ends with the container, or after a silence."""
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/log"
        with self._open(path, {"container": container, "follow": "true"}, read_seconds=seconds) as response:
            yield from response.stream(65_536, decode_content=True)

    def events_of(self, namespace: str, uid: str, most: int = 20) -> list[Document]:
        """The last events about one object, oldest first."""
        query = {"fieldSelector": f"involvedObject.uid={uid}", "limit": str(PAGE)}
        found = self._json("GET", f"/api/v1/namespaces/{namespace}/events", query)["items"]
        return sorted(found, key=_last_seen)[-most:]

    # Requests

    def _json(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Any = None) -> Document:
        return dict(json.loads(self._ask(method, path, query, body) or b"{}"))

    def _found(self, method: str, path: str) -> Document | None:
        try:
            return self._json(method, path)
        except Refused as refusal:
            if refusal.status == 404:
                return None
            raise

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        pauses: tuple[float, ...] | None = None,
    ) -> bytes:
        for pause in (*(PAUSES_SECONDS if pauses is None else pauses), None):
            answer = self._once(method, path, query or {}, body)
            if isinstance(answer, bytes):
                return answer
            if pause is None:
                raise answer
            time.sleep(min(LONGEST_PAUSE_SECONDS, max(answer.wait_seconds, pause * random.uniform(0.8, 1.2))))  # noqa: S311
        raise AssertionError("the last pause is none")

    def _once(self, method: str, path: str, query: Mapping[str, str], body: Any) -> bytes | ClusterError:
        """The answer, or why to ask again. Raises `Refused`."""
        self._pace.wait()
        try:
            response = self._send(method, path, query, body, READ_SECONDS)
            data: bytes = response.read(decode_content=True)
        except FAILURES as error:
            return ClusterError(f"the cluster does not answer: {error}")
        if response.status < 300:
            return data
        refusal = _refusal(response.status, data)
        # Of a creation this is the quota's own record, which two requests changed at once.
        if response.status not in BUSY and (method, refusal.reason) != ("POST", "Conflict"):
            raise refusal
        return ClusterError(f"the cluster is busy ({response.status}): {_message(data)}", _retry_after(response))

    @contextmanager
    def _open(self, path: str, query: Mapping[str, str], read_seconds: float) -> Iterator[Any]:
        """A response that is read as it comes. Raises `Refused`, `ClusterError`."""
        self._pace.wait()
        try:
            response = self._send("GET", path, query, None, read_seconds)
            try:
                if response.status in BUSY:
                    raise ClusterError(f"the cluster is busy ({response.status})")
                if response.status >= 300:
                    raise _refusal(response.status, response.read(decode_content=True))
                yield response
            finally:
                response.close()
        except FAILURES as error:
            raise ClusterError(f"the cluster does not answer: {error}") from error

    @contextmanager
    def _stream(self, path: str, query: Mapping[str, str], read_seconds: float) -> Iterator[Iterator[bytes]]:
        with self._open(path, query, read_seconds) as response:
            yield _lines(response)

    def _send(self, method: str, path: str, query: Mapping[str, str], body: Any, read_seconds: float) -> Any:
        """Through the client's pool alone: its own way of making a request costs as much as the request."""
        client = self._client
        headers = {**client.default_headers, "Accept": "application/json"}
        for auth in client.configuration.auth_settings().values():
            headers[auth["key"]] = auth["value"]
        if body is not None:
            headers["Content-Type"] = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
        return client.rest_client.pool_manager.request(
            method,
            f"{client.configuration.host}{path}{'?' if query else ''}{urlencode(query)}",
            body=None if body is None else json.dumps(body, separators=(",", ":")).encode(),
            headers=headers,
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=read_seconds),
            preload_content=False,
        )


class Pace:
    """A bucket of tokens: at most so many requests a second, with a burst of two seconds' worth."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._tokens = self._most = 2 * per_second
        self._at = time.monotonic()
        self._lock = threading.Lock()

    def wait(self) -> None:
        with self._lock:
            now = time.monotonic()
            self._tokens = min(self._most, self._tokens + (now - self._at) * self._per_second) - 1
            self._at = now
            owed = -self._tokens / self._per_second
        if owed > 0:
            time.sleep(owed)


def _configuration(config: ClusterConfig, connections: int) -> Any:
    """Of the kubeconfig that was named, else of the pod we run in, else of the default one. Raises `ConfigError`."""
    made = kube.Configuration()
    try:
        try:
            if config.kubeconfig or config.context:
                raise kube_config.ConfigException
            kube_config.load_incluster_config(client_configuration=made)
        except kube_config.ConfigException:
            kube_config.load_kube_config(config.kubeconfig, config.context, client_configuration=made)
    except Exception as error:  # The loader raises whatever a broken file makes it stumble over.
        raise ConfigError(
            f"no cluster can be reached: {type(error).__name__}: {error}; set KUBECONFIG to a kubeconfig that "
            "`kubectl` accepts, or run in a pod with a service account"
        ) from error
    made.retries = False  # urllib3 would repeat by itself, without a pause
    made.connection_pool_maxsize = connections
    return made


def _refusal(status: int, data: bytes) -> Refused:
    try:
        told = json.loads(data)
    except ValueError:
        told = {}
    return Refused(_message(data), status, str(told.get("reason") or "") if isinstance(told, dict) else "")


def _message(data: bytes) -> str:
    try:
        return str(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        return data[:500].decode(errors="replace") or "(no message)"


def _retry_after(response: Any) -> float:
    try:
        return float(response.headers.get("Retry-After") or 0)
    except ValueError:
        return 0.0


def _lines(response: Any) -> Iterator[bytes]:
    rest = b""
    for chunk in response.stream(65_536, decode_content=True):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line for line in whole if line)


def _last_seen(event: Document) -> str:
    series = event.get("series") or {}
    moments = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return next((str(moment) for moment in moments if moment), "")
