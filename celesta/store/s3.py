"""A store in S3 or a service that speaks its protocol (MinIO, GCS, …). The one module that talks to boto3.

Called through `open_store`. Refuses to guess: only "no such key" means that an object is not there; a missing bucket,
a refused permission, a time-out is a `StoreError`. Large files go up in parts, and what is read is streamed.
"""

import contextlib
import hashlib
import io
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError
from botocore.response import StreamingBody

from celesta.errors import StoreError
from celesta.store.base import (
    CHUNK_BYTES,
    KEPT_SECONDS,
    Entry,
    Store,
    blob_key,
    check_key,
    check_prefix,
    open_source,
)

PART_BYTES = 16 << 20
LARGEST_COPY_BYTES = 5 << 30
_MOST_PARTS = 9_000
_ABSENT = {"NoSuchKey", "404", "NotFound"}
_REFUSED = {"AccessDenied", "403", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "NoSuchBucket"}
_CONFLICT = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}

Answer = TypeVar("Answer")


class S3Store(Store):
    """Objects below a prefix of a bucket. Credentials come from where boto3 looks for them."""

    def __init__(self, bucket: str, prefix: str = "", endpoint_url: str | None = None) -> None:
        if not bucket:
            raise StoreError("an S3 store needs a bucket: s3://bucket/prefix", code="bad_store_url", retryable=False)
        self.bucket = bucket
        self.prefix = f"{prefix}/" if prefix else ""
        self.endpoint_url = endpoint_url or None
        self.url = f"s3://{bucket}/{prefix}".rstrip("/")
        # GCS takes the condition from an HMAC client and ignores it.
        self._conditional = not urlsplit(endpoint_url or "").netloc.endswith("googleapis.com")
        self._bucket_seen = False

    # Objects

    def create(self, key: str, data: bytes, flush: bool = True) -> bool:
        """Always flushed by the service; where it ignores the condition, two who create at the same instant may both be
        told True."""
        name = self._name(key)
        if not self._conditional:
            if self.size(key) is not None:
                return False
            self.put(key, data)
            return True
        writer = uuid.uuid4().hex
        try:
            with self._answering(key):
                self._client.put_object(
                    Bucket=self.bucket, Key=name, Body=data, IfNoneMatch="*", Metadata={"writer": writer}
                )
            return True
        except StoreError as error:
            if _code(error.__cause__) not in _CONFLICT:
                raise
            return self._is_ours(key, writer, error)

    def flush(self, keys: Iterable[str]) -> None:
        """What the service took is durable."""

    def put(self, key: str, data: bytes, flush: bool = True) -> None:
        name = self._name(key)
        with self._answering(key):
            self._client.put_object(Bucket=self.bucket, Key=name, Body=data)

    def put_file(self, key: str, path: str | os.PathLike[str]) -> None:
        name = self._name(key)
        with open_source(path) as source:
            self._upload(name, key, source, os.fstat(source.fileno()).st_size)

    def open(self, key: str) -> BinaryIO | None:
        name = self._name(key)
        found = self._unless_absent(key, lambda: self._client.get_object(Bucket=self.bucket, Key=name))
        if found is None:
            return None
        return io.BufferedReader(_Body(found["Body"], self, key), CHUNK_BYTES)

    def size(self, key: str) -> int | None:
        found = self._head(key)
        return None if found is None else int(found["ContentLength"])

    def list(self, prefix: str) -> Iterator[str]:
        for entry in self.entries(prefix):
            yield entry.key

    def entries(self, prefix: str) -> Iterator[Entry]:
        check_prefix(prefix)
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix + prefix)
        with self._answering(prefix):
            for page in pages:
                for found in page.get("Contents", ()):
                    key = found["Key"].removeprefix(self.prefix)
                    yield Entry(key, int(found["Size"]), found["LastModified"].timestamp())

    def keep(self, key: str, size: int) -> bool:
        found = self._head(key)
        if found is None or int(found["ContentLength"]) != size:
            return False
        if time.time() - found["LastModified"].timestamp() <= KEPT_SECONDS:
            return True
        if size > LARGEST_COPY_BYTES:
            return False  # it is sent again: the service copies no object of this size in one request
        name = self._name(key)
        place, metadata = {"Bucket": self.bucket, "Key": name}, found.get("Metadata", {})
        with self._answering(key):
            self._client.copy_object(**place, CopySource=place, Metadata=metadata, MetadataDirective="REPLACE")
        return True

    def delete(self, key: str) -> None:
        name = self._name(key)
        with self._answering(key):
            self._client.delete_object(Bucket=self.bucket, Key=name)

    def link(self, key: str, seconds: int) -> str | None:
        where = {"Bucket": self.bucket, "Key": self._name(key)}
        with self._answering(key):
            return str(self._client.generate_presigned_url("get_object", Params=where, ExpiresIn=seconds))

    def put_blob_file(self, path: str | os.PathLike[str]) -> tuple[str, int]:
        """Reads the file twice: to name it, and to send it. Refuses a file that changes in between."""
        with open_source(path) as source:
            digest, size = hashlib.file_digest(source, "sha256").hexdigest(), source.tell()
            key = blob_key(digest)
            if not self.keep(key, size):
                source.seek(0)
                self._upload(self._name(key), key, source, size, digest)
        return digest, size

    # Sending

    def _upload(self, name: str, key: str, source: BinaryIO, size: int, digest: str | None = None) -> None:
        seen = hashlib.sha256()

        def read(limit: int) -> bytes:
            data = source.read(limit)
            seen.update(data)
            return data

        def check() -> None:
            if digest is not None and seen.hexdigest() != digest:
                message = f"{source.name} changed while it was stored; do not write to a file that was returned"
                raise StoreError(message, code="unreadable_file", retryable=False)

        if size <= PART_BYTES:
            data = read(PART_BYTES + 1)
            check()
            with self._answering(key):
                self._client.put_object(Bucket=self.bucket, Key=name, Body=data)
        else:
            with self._answering(key):
                self._upload_parts(name, read, max(PART_BYTES, size // _MOST_PARTS + 1), check)

    def _upload_parts(
        self, name: str, read: Callable[[int], bytes], part_bytes: int, check: Callable[[], None]
    ) -> None:
        where = {"Bucket": self.bucket, "Key": name}
        where["UploadId"] = self._client.create_multipart_upload(**where)["UploadId"]
        try:
            parts: list[dict[str, Any]] = []
            while data := read(part_bytes):
                sent = self._client.upload_part(**where, PartNumber=len(parts) + 1, Body=data)
                parts.append({"PartNumber": len(parts) + 1, "ETag": sent["ETag"]})
            check()
            self._client.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
        except BaseException:
            with contextlib.suppress(BotoCoreError, ClientError):  # The first error is the one to tell.
                self._client.abort_multipart_upload(**where)
            raise

    # What the service says

    @property
    def _client(self) -> Any:
        return _client(self.endpoint_url)

    def _name(self, key: str) -> str:
        return self.prefix + check_key(key)

    def _head(self, key: str) -> dict[str, Any] | None:
        name = self._name(key)
        return self._unless_absent(key, lambda: self._client.head_object(Bucket=self.bucket, Key=name))

    def _is_ours(self, key: str, writer: str, refusal: StoreError) -> bool:
        """After "it is there already": whether a retry below us met the object that we had just written."""
        found = self._head(key)
        if found is None:
            raise refusal  # Somebody is deleting or replacing it right now; only a retry can tell.
        return bool(found["Metadata"].get("writer") == writer)

    def _unless_absent(self, key: str, ask: Callable[[], Answer]) -> Answer | None:
        try:
            with self._answering(key):
                return ask()
        except StoreError as error:
            if _code(error.__cause__) not in _ABSENT:
                raise
        self._see_bucket()
        return None

    def _see_bucket(self) -> None:
        """A head request is answered 404 for a missing bucket too, and then nothing is certain."""
        if not self._bucket_seen:
            with self._answering("the bucket"):
                self._client.head_bucket(Bucket=self.bucket)
            self._bucket_seen = True

    @contextlib.contextmanager
    def _answering(self, key: str) -> Iterator[None]:
        """Turns whatever keeps the service from answering into a `StoreError`."""
        try:
            yield
        except (BotoCoreError, ClientError, HTTPClientError, OSError) as error:
            raise self._failure(key, error) from error

    def _failure(self, key: str, error: Exception) -> StoreError:
        final = _code(error) in _REFUSED or isinstance(error, NoCredentialsError)
        advice = "; check the bucket's name, the credentials and their permissions" if final else ""
        return StoreError(f"the store {self.url} did not answer for {key}: {error}{advice}", retryable=not final)


class _Body(io.RawIOBase):
    """The stream of an object, whose failures are those of the store."""

    def __init__(self, body: StreamingBody, store: S3Store, key: str) -> None:
        self._body, self._store, self._key = body, store, key

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with self._store._answering(self._key):
            data: bytes = self._body.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._body.close()
        super().close()


_clients: dict[str | None, Any] = {}
_clients_lock = threading.Lock()


def _client(endpoint_url: str | None) -> Any:
    client = _clients.get(endpoint_url)
    if client is None:
        with _clients_lock:  # boto3's sessions are not safe to build clients from in two threads at once.
            client = _clients.get(endpoint_url) or _clients.setdefault(endpoint_url, _new_client(endpoint_url))
    return client


def _new_client(endpoint_url: str | None) -> Any:
    settings: dict[str, Any] = {
        "signature_version": "s3v4",
        "connect_timeout": 3,
        "read_timeout": 20,
        "retries": {"mode": "standard", "max_attempts": 5},
        "max_pool_connections": 32,
    }
    if endpoint_url:  # Others than AWS refuse its checksum headers, and have no name per bucket.
        settings |= {
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            "s3": {"addressing_style": "path"},
        }
    session = boto3.session.Session()
    region = session.region_name or ("auto" if endpoint_url else None)
    return session.client("s3", endpoint_url=endpoint_url, region_name=region, config=Config(**settings))


def _after_fork() -> None:
    """A forked child keeps the clients, which are slow to make, but none of the parent's connections."""
    global _clients_lock
    _clients_lock = threading.Lock()
    for client in _clients.values():
        client.close()


os.register_at_fork(after_in_child=_after_fork)


def _code(error: BaseException | None) -> str:
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""
