"""One kept-alive HTTP connection to a Celesta server: JSON in and out, bytes streamed, server-sent events.

Called by `celesta.client.caller` for a client, and by `celesta.store.step` for a step in a container. It turns what
goes wrong into the error tree: no answer is `ServerUnreachable`, an error payload becomes the class that fits its
status. A connection is not for several threads.
Standard library only, so that notebooks and the CLI start fast.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import math
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from celesta.client.events import Message, parse
from celesta.errors import (
    AccessError,
    ApiError,
    CelestaError,
    ConflictError,
    InputError,
    MissingBlobs,
    NotFoundError,
    Problem,
    ServerUnreachable,
    TooLarge,
)

TIMEOUT_SECONDS = 60.0
"""Longer than the longest answer that the server holds back (a `wait_seconds` of 30)."""

UNKNOWN_PATH = "unknown_path"
"""The code of a server's answer where no route of its own is."""

Body = bytes | BinaryIO | None


BY_STATUS: dict[int, type[CelestaError]] = {401: AccessError, 403: AccessError, 404: NotFoundError, 409: ConflictError}


class Connection:
    """Speaks to one server; connects when first needed, and again when an idle connection was closed."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._parts = urlsplit(self.url)
        self._headers = {"Accept": "application/json", "User-Agent": "celesta"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._http: http.client.HTTPConnection | None = None

    def json(self, method: str, path: str, document: object = None) -> Any:
        """Send a JSON document, return the one that comes back."""
        headers = {} if document is None else {"Content-Type": "application/json"}
        body = None if document is None else _json(document)
        with self.stream(method, path, body, headers) as response:
            data = response.read()
        try:
            return json.loads(data) if data else None
        except ValueError:
            raise self._not_ours(f"it answered {method} {path} with something else than JSON") from None

    def exists(self, path: str) -> bool:
        try:
            with self.stream("HEAD", path):
                return True
        except NotFoundError:
            return False

    @contextmanager
    def stream(
        self, method: str, path: str, body: Body = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """The successful response, to be read inside the block; raises what an error payload says."""
        response = self._send(method, path, body, {**self._headers, **(headers or {})})
        try:
            if response.status >= 400:
                body = response.read()
                if response.status == 404 and method != "HEAD" and self._is_astray(_payload(body).get("code")):
                    raise self._not_ours(f"there is nothing at {self._parts.path}{urlsplit(path).path}")
                raise error_of(response.status, body, f"{method} {self.url}{path}")
            yield response
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unreachable(error) from error
        finally:
            if not response.isclosed():
                self.close()  # an answer that was not read to its end leaves the connection unusable

    def events(self, path: str, last_id: str = "") -> Iterator[Message]:
        """Server-sent events until the server ends them, on a connection of their own."""
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        own = Connection(self.url)
        own._headers = self._headers
        try:
            with own.stream("GET", path, headers=headers) as response:
                yield from parse(response)
        finally:
            own.close()

    def close(self) -> None:
        if self._http is not None:
            self._http.close()
            self._http = None

    def _send(self, method: str, path: str, body: Body, headers: dict[str, str]) -> http.client.HTTPResponse:
        """Sends once more when the server had closed the idle connection.

        Every call of the API may arrive twice: creations carry a key of their own or are refused as a conflict.
        """
        for again in (self._http is not None, False):
            try:
                return self._once(method, path, body, headers)
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if not again or not isinstance(error, ConnectionError | http.client.HTTPException):
                    raise self._unreachable(error) from error
            if body is not None and not isinstance(body, bytes):
                body.seek(0)
        raise AssertionError("the second attempt returns or raises")

    def _once(self, method: str, path: str, body: Body, headers: dict[str, str]) -> http.client.HTTPResponse:
        if self._http is None:
            self._http, self._prefix = connect(self._parts)
        self._http.request(method, self._prefix + path, body=body, headers=headers)
        return self._http.getresponse()

    def _is_astray(self, code: object) -> bool:
        """Whether this answer to a path that is not there comes from elsewhere, or from below another path."""
        return code is None or (code == UNKNOWN_PATH and bool(self._parts.path))

    def _not_ours(self, why: str) -> NotFoundError:
        """Something answers that is no Celesta server, or one of another version, or below another path."""
        hint = "give its address without a path" if self._parts.path else "is it a Celesta server of this version?"
        return NotFoundError(f"{self.url} does not answer as a Celesta server: {why}; {hint}")

    def _unreachable(self, error: Exception) -> ServerUnreachable:
        return ServerUnreachable(f"no Celesta server answers at {self.url} ({error or type(error).__name__})")


def connect(parts: SplitResult) -> tuple[http.client.HTTPConnection, str]:
    """A connection for this URL and what to put before a request's path; proxies are never asked for loopback."""
    host, port, secure = parts.hostname or "", parts.port, parts.scheme == "https"
    proxy = None if is_loopback(host) or proxy_bypass(host) else getproxies().get(parts.scheme)
    if not proxy:
        return _connection(host, port, secure), parts.path
    through = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if not secure:
        return _connection(through.hostname or "", through.port, False), f"{parts.scheme}://{parts.netloc}{parts.path}"
    connection = _connection(through.hostname or "", through.port, True)
    connection.set_tunnel(host, port)
    return connection, parts.path


def _connection(host: str, port: int | None, secure: bool) -> http.client.HTTPConnection:
    if secure:
        return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_SECONDS, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _json(document: object) -> bytes:
    """JSON has no NaN and no infinity; inputs that are such are sent by their names, as they are typed."""
    try:
        return json.dumps(document, allow_nan=False).encode()
    except ValueError:
        return json.dumps(_named(document)).encode()


def _named(part: object) -> object:
    if isinstance(part, Mapping):
        return {name: _named(item) for name, item in part.items()}
    if isinstance(part, list | tuple):
        return [_named(item) for item in part]
    return str(part) if isinstance(part, float) and not math.isfinite(part) else part


def error_of(status: int, body: bytes, request: str) -> CelestaError:
    """The error that an answer stands for."""
    payload = _payload(body)
    message = str(payload.get("message") or f"the server answered {status} to {request}")
    if payload.get("code") == MissingBlobs.code:
        return MissingBlobs([str(digest) for digest in payload.get("errors") or []], message)
    if status in (400, 413, 422):
        problems = problems_of(payload.get("errors"))
        head, several, _ = message.partition(":\n")  # what the problems have in common, and what to do
        kind = TooLarge if status == 413 else InputError
        return kind(head if several or not problems else "", problems=problems)
    if status in (502, 503, 504):
        return ServerUnreachable(message)
    if status in BY_STATUS:
        return BY_STATUS[status](message)
    request_id = payload.get("request_id")
    return ApiError(f"{message} (status {status}{f', request {request_id}' if request_id else ''})")


def problems_of(errors: object, where: str = "") -> list[Problem]:
    """The `errors` of a payload, which nest by field or are a list, as flat problems."""
    if isinstance(errors, Mapping):
        if "message" in errors:
            return [Problem(str(errors.get("where") or where), str(errors["message"]))]
        return [p for key, value in errors.items() for p in problems_of(value, f"{where}.{key}" if where else str(key))]
    if isinstance(errors, list):
        return [problem for value in errors for problem in problems_of(value, where)]
    return [Problem(where, str(errors))] if errors else []


def _payload(body: bytes) -> dict[str, Any]:
    try:
        payload = json.loads(body)
    except ValueError:
        return {}
    return payload if isinstance(payload, dict) else {}
