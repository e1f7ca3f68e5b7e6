"""What a store is: named objects, and blobs named by the digest of their bytes.

Owns the layout of keys (blobs, attempts) and the rules that every store keeps; `celesta.store.local` and
`celesta.store.s3` say how bytes get there. Called by the codecs, the runtime, the engine and the control plane.
Refuses keys that could leave the store, and blobs whose bytes are not those of their digest.

The rules: an object is whole or absent, whoever is killed when, and it survives a loss of power when the write returns
(or, where a writer gives that up, after a `flush`). `None` and `False` mean "certainly not
there"; whatever keeps a store from answering raises `StoreError`, whose `retryable` says whether a retry may help.
"""

import contextlib
import hashlib
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import quote

from celesta.errors import StoreError
from celesta.hashing import digest_of

CHUNK_BYTES = 1 << 20
KEPT_SECONDS = 3600.0
"""How long an object that was written or kept need not be kept again."""
LEFTOVER_SECONDS = 86_400.0
"""What is half-written and untouched for so long has no writer any more."""

# Components of visible ASCII without "\" that are neither "." nor ".."; the whole key fits S3's 1,024 bytes.
_COMPONENT = r"(?!\.{1,2}(?:/|\Z))[!-.0-\[\]-~]{1,255}"
_KEY = re.compile(rf"(?=.{{1,900}}\Z){_COMPONENT}(?:/{_COMPONENT})*\Z")
_PREFIX = re.compile(rf"(?:(?:{_COMPONENT}/)*(?:{_COMPONENT})?)\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_LONGEST_PATH = 180


def is_digest(text: object) -> bool:
    """Whether this is written as a digest."""
    return isinstance(text, str) and _DIGEST.match(text) is not None


def is_size(value: object) -> bool:
    """Whether it is a number of bytes, items or milliseconds that a database takes."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def blob_key(digest: str) -> str:
    """Where the blob of this digest lives."""
    if not _DIGEST.match(digest):
        raise StoreError(
            f"{digest!r} is not a digest; a digest is 64 lower-case hex characters", code="bad_digest", retryable=False
        )
    return f"blobs/sha256/{digest[:2]}/{digest}"


def path_component(path: str) -> str:
    """A step's path as one name in a folder: quoted, and when that is too long for one cut and given a digest."""
    quoted = quote(path, safe="")
    if not quoted.strip("."):
        quoted = quoted.replace(".", "%2E")
    if len(quoted) > _LONGEST_PATH:
        quoted = f"{quoted[: _LONGEST_PATH - 17]}={digest_of(path.encode())[:16]}"
    return quoted


def step_prefix(run: str, path: str, token: str) -> str:
    """The prefix of all objects of one attempt, with its final slash. A step's path is one component of it."""
    return f"runs/{run}/{path_component(path)}/{token}/"


def prefix_of(document: Mapping[str, Any]) -> str:
    """The prefix of the attempt that a step document is of."""
    return step_prefix(document["run"], document["path"], document["token"])


def result_key(run: str, path: str, token: str) -> str:
    """Where the result document of one attempt is."""
    return f"{step_prefix(run, path, token)}result.json"


def check_key(key: str) -> str:
    """The key itself, when no store could be left by it."""
    if not _KEY.match(key):
        raise StoreError(
            f"{key!r} is not a key; a key is relative, of visible ASCII components other than '.' and '..'",
            code="bad_key",
            retryable=False,
        )
    return key


def check_prefix(prefix: str) -> str:
    """The prefix itself, when it could begin a key (or is empty)."""
    if not _PREFIX.match(prefix):
        raise StoreError(f"{prefix!r} cannot begin a key", code="bad_key", retryable=False)
    return prefix


def open_source(path: str | os.PathLike[str]) -> io.BufferedReader:
    """A local file that is to be stored."""
    try:
        return Path(path).open("rb")
    except OSError as error:
        message = f"{os.fspath(path)} cannot be read: {error.strerror}"
        raise StoreError(message, code="unreadable_file", retryable=False) from error


class Entry(NamedTuple):
    """An object as a listing tells it; `written_at` is in seconds since the epoch."""

    key: str
    size: int
    written_at: float


class Store:
    """Objects by key and blobs by digest. Subclasses give the object verbs; blobs are built on them here.

    A store of fewer verbs (one that only takes blobs) refuses the others.
    """

    url: str

    # Objects

    def create(self, key: str, data: bytes, flush: bool = True) -> bool:
        """Writes an object that must not be there yet. False: it was there, and nothing changed.

        Without `flush` a loss of power soon after may leave nothing of it, or an object without its bytes.
        """
        raise self._without("create")

    def flush(self, keys: Iterable[str]) -> None:
        """Makes created objects survive a loss of power; what is not there is passed over."""
        raise self._without("flush")

    def put(self, key: str, data: bytes, flush: bool = True) -> None:
        """Writes or replaces an object. Without `flush` it is whole for everyone, but a loss of power may lose it."""
        raise self._without("put")

    def put_file(self, key: str, path: str | os.PathLike[str]) -> None:
        """Writes or replaces an object with the content of a local file."""
        raise self._without("put_file")

    def open(self, key: str) -> BinaryIO | None:
        """A stream of the object's bytes, to be closed by the caller. None: it is not there."""
        raise self._without("open")

    def size(self, key: str) -> int | None:
        """The object's size in bytes. None: it is not there."""
        raise self._without("size")

    def list(self, prefix: str) -> Iterator[str]:
        """All keys that begin with these characters, sorted."""
        raise self._without("list")

    def entries(self, prefix: str) -> Iterator[Entry]:
        """The objects whose keys begin with these characters, with their sizes and when they were written or kept."""
        raise self._without("entries")

    def keep(self, key: str, size: int) -> bool:
        """Whether an object of this size is there. Then it counts as written within the last hour, so that no garbage
        collection takes it from the caller, who relies on it without writing it again."""
        return self.size(key) == size

    def delete(self, key: str) -> None:
        """Removes an object; one that is not there is no error."""
        raise self._without("delete")

    def link(self, key: str, seconds: int) -> str | None:
        """An address at which anyone may read the object for so long. None: this store has no such addresses."""
        return None

    def get(self, key: str) -> bytes | None:
        """The object's bytes. None: it is not there."""
        stream = self.open(key)
        if stream is None:
            return None
        with stream:
            return stream.read()

    def sweep(self, older_than_seconds: float = LEFTOVER_SECONDS) -> int:
        """Removes what killed writers left half-written and nobody can see; how many of it."""
        return 0

    # Blobs

    def put_blob_file(self, path: str | os.PathLike[str]) -> tuple[str, int]:
        """Stores a local file as a blob, streaming; its digest and its size in bytes."""
        raise self._without("put_blob_file")

    def put_blob(self, data: bytes) -> str:
        """Stores bytes as a blob (once, however often it is put); their digest."""
        digest = digest_of(data)
        key = blob_key(digest)
        if not self.keep(key, len(data)):
            self.put(key, data)
        return digest

    def has_blob(self, digest: str) -> bool:
        """Whether the blob is there."""
        return self.size(blob_key(digest)) is not None

    def open_blob(self, digest: str) -> BinaryIO:
        """A stream of the blob's bytes (not checked against the digest)."""
        stream = self.open(blob_key(digest))
        if stream is None:
            raise self._missing(digest)
        return stream

    def get_blob(self, digest: str) -> bytes:
        """The blob's bytes, checked against the digest."""
        data = self.get(blob_key(digest))
        if data is None:
            raise self._missing(digest)
        if digest_of(data) != digest:
            raise self._corrupt(digest)
        return data

    def fetch_blob(self, digest: str, path: str | os.PathLike[str]) -> None:
        """Copies the blob to a new local file, streaming and checked against the digest.

        Always a copy: a hard link could be made writable by the step that received it, and so alter the blob.
        """
        with self.open_blob(digest) as source:
            try:
                seen = _copy(source, path)
            except OSError as error:
                _discard(path)
                raise StoreError(f"blob {digest[:12]} cannot be written to {os.fspath(path)}: {error}") from error
        if seen != digest:
            _discard(path)
            raise self._corrupt(digest)

    def _without(self, verb: str) -> StoreError:
        return StoreError(f"the store {self.url} takes no {verb}()", code="unsupported", retryable=False)

    def _missing(self, digest: str) -> StoreError:
        return StoreError(f"blob {digest} is not in the store {self.url}", code="missing_blob", retryable=False)

    def _corrupt(self, digest: str) -> StoreError:
        return StoreError(
            f"blob {digest} in the store {self.url} is damaged: its bytes are not those of its digest; delete it and "
            "run the step that made it again",
            code="corrupt_blob",
            retryable=False,
        )


def _copy(source: BinaryIO, path: str | os.PathLike[str]) -> str:
    seen = hashlib.sha256()
    with Path(path).open("xb") as target:
        while chunk := source.read(CHUNK_BYTES):
            seen.update(chunk)
            target.write(chunk)
    return seen.hexdigest()


def _discard(path: str | os.PathLike[str]) -> None:
    with contextlib.suppress(OSError):  # What cannot be removed was never written.
        Path(path).unlink()
