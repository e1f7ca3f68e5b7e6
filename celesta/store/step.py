"""The store as a step in a container sees it: through the REST API, with the token of its attempt.

Opened by `celesta.runtime.granted`. Reads the blobs that the step's inputs name, stores blobs, and keeps the objects
of the attempt itself; everything else is refused here and there. Bears a server that does not answer for a while.
Standard library only, so that a step runs in an image with nothing but Python in it.
"""

import contextlib
import hashlib
import http.client
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

from celesta.client.http import Connection, connect
from celesta.errors import ApiError, CelestaError, NotFoundError, ServerUnreachable, StoreError
from celesta.hashing import digest_of
from celesta.store.base import CHUNK_BYTES, Store, blob_key, open_source

PAUSES_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)
"""A restarted server is back sooner; a lost one is no reason for a pod to wait for long."""
_API = "/api/v1/step"
_BLOBS = "blobs/sha256/"
_LINK_STATUS = 307

Answer = TypeVar("Answer")


class StepStore(Store):
    """What one attempt may read and write. `prefix` is that of its own objects. For one thread at a time.

    `token` gives the newest token of the attempt, and is asked at each use: work may last longer than any of them.
    """

    def __init__(self, url: str, token: Callable[[], str], prefix: str = "") -> None:
        self.url = url.rstrip("/")
        self.prefix = prefix
        self._lock = threading.RLock()
        self._token, self._used = token, ""
        self._connected = Connection(self.url)

    @property
    def _connection(self) -> Connection:
        token = self._token()
        if token != self._used:
            self._connected.close()
            self._connected, self._used = Connection(self.url, token), token
        return self._connected

    # About the step

    def document(self) -> dict[str, Any]:
        """The step document."""
        found: dict[str, Any] = self._patiently(lambda: self._connection.json("GET", _API))
        return found

    def renewed(self) -> str:
        """A fresh token."""
        return str(self._patiently(lambda: self._connection.json("POST", f"{_API}/token"))["token"])

    # Objects

    def create(self, key: str, data: bytes, flush: bool = True) -> bool:
        status, _ = self._put(self._object(key), lambda: data)
        return status == http.client.CREATED

    def put(self, key: str, data: bytes, flush: bool = True) -> None:
        self._put(self._blob(key) if key.startswith(_BLOBS) else self._object(key), lambda: data)

    def put_file(self, key: str, path: str | os.PathLike[str]) -> None:
        with open_source(path) as source:
            self._put(self._object(key), lambda: _rewound(source))

    def open(self, key: str) -> BinaryIO | None:
        """The whole object, laid in a temporary file first: a connection that breaks later could not be mended."""
        path = self._blob(key) if key.startswith(_BLOBS) else self._object(key)

        def fetch() -> BinaryIO:
            with contextlib.ExitStack() as unless_whole:
                file = unless_whole.enter_context(tempfile.TemporaryFile())
                for piece in self._pieces(path):
                    file.write(piece)
                file.seek(0)
                unless_whole.pop_all()  # the caller closes it
                return file

        with contextlib.suppress(_Absent):
            return self._patiently(fetch)
        return None

    def size(self, key: str) -> int | None:
        """Of a blob of an input. Others are not there for this step, whoever else has stored them."""
        path = self._blob(key)

        def ask() -> int | None:
            with self._connection.stream("HEAD", path) as response:
                return int(response.headers["Content-Length"])

        with contextlib.suppress(_Absent, _Refused):
            return self._patiently(ask)
        return None

    # Blobs

    def put_blob(self, data: bytes) -> str:
        digest = digest_of(data)
        self.put(blob_key(digest), data)
        return digest

    def put_blob_file(self, path: str | os.PathLike[str]) -> tuple[str, int]:
        """Reads the file twice: to name it, and to send it. A file that changes in between is refused."""
        with open_source(path) as source:
            digest, size = hashlib.file_digest(source, "sha256").hexdigest(), source.tell()
            self._put(self._blob(blob_key(digest)), lambda: _rewound(source))
        return digest, size

    def fetch_blob(self, digest: str, path: str | os.PathLike[str]) -> None:
        def fetch() -> None:
            seen = hashlib.sha256()
            with Path(path).open("wb") as target:
                for piece in self._pieces(self._blob(blob_key(digest))):
                    seen.update(piece)
                    target.write(piece)
            if seen.hexdigest() != digest:
                raise self._corrupt(digest)

        try:
            self._patiently(fetch)
        except _Absent:
            raise self._missing(digest) from None

    # How

    def _put(self, path: str, body: Callable[[], bytes | BinaryIO]) -> tuple[int, Any]:
        def send() -> tuple[int, Any]:
            data = body()
            size = len(data) if isinstance(data, bytes) else os.fstat(data.fileno()).st_size
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
            with self._connection.stream("PUT", path, data, headers) as response:
                return response.status, json.loads(response.read() or b"null")

        return self._patiently(send)

    def _pieces(self, path: str) -> Iterator[bytes]:
        """The bytes at a path of the API, or at the link that it gives, and from the API where nobody answers there."""
        with self._connection.stream("GET", path) as response:
            link = response.headers["Location"] if response.status == _LINK_STATUS else None
            if link is None:
                yield from _read(response)
                return
            response.read()
        opened = _opened(link)
        if opened is None:
            with self._connection.stream("GET", f"{path}?stream=true") as response:
                yield from _read(response)
            return
        connection, answer = opened
        with contextlib.closing(connection):
            yield from _read(answer)

    def _patiently(self, call: Callable[[], Answer]) -> Answer:
        """The answer, asked for again while no server gives one."""
        for pause in (*PAUSES_SECONDS, None):
            try:
                with self._lock:
                    return call()
            except NotFoundError as error:
                raise _Absent(str(error)) from error
            except (ServerUnreachable, ApiError, OSError, http.client.HTTPException) as error:
                if pause is None:
                    raise StoreError(f"the store behind {self.url} does not answer: {error}") from error
            except StoreError:
                raise
            except CelestaError as error:
                raise _Refused(str(error), error.code) from error
            time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _object(self, key: str) -> str:
        name = key.removeprefix(self.prefix)
        if not key.startswith(self.prefix) or "/" in name:
            raise StoreError(f"a step has no object {key!r}", code="bad_key", retryable=False)
        return f"{_API}/objects/{name}"

    def _blob(self, key: str) -> str:
        if not key.startswith(_BLOBS):
            raise self._without("size")
        return f"{_API}/blobs/{key.rpartition('/')[2]}"


class _Absent(StoreError):
    """Certainly not there."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="missing_blob", retryable=False)


class _Refused(StoreError):
    """The server does not let this step do that, and asking again does not help."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message, code=code, retryable=False)


def _read(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The whole body, piece by piece. A connection that breaks would only look like an early end."""
    left = None if response.length is None else int(response.length)
    while piece := response.read(CHUNK_BYTES):
        if left is not None:
            left -= len(piece)
        yield piece
    if left:
        raise ConnectionError(f"the connection broke {left:,} bytes before the end")


def _rewound(source: BinaryIO) -> BinaryIO:
    source.seek(0)
    return source


def _opened(link: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse] | None:
    """The object at a link. None: whoever made the link is reached there by others, but not from here."""
    parts = urlsplit(link)
    connection, before = connect(parts)
    try:
        connection.request("GET", f"{before}?{parts.query}")
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException):
        connection.close()
        return None
    if answer.status != http.client.OK:
        connection.close()
        return None
    return connection, answer
