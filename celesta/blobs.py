"""Blobs in memory: what a workflow's constants are encoded into before anyone knows where they will be sent.

Called by `celesta.spec`, whose caller uploads what the server does not have yet, and by `celesta.source` for digests of
arrays and tables. It is a store of blobs only; other objects have no place here.
"""

from __future__ import annotations

import os
from pathlib import Path

from celesta.hashing import digest_of
from celesta.store.base import Store


class MemoryBlobs(Store):
    """Blobs by digest. `blobs` is what was put."""

    url = "memory:"

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    def put_blob(self, data: bytes) -> str:
        digest = digest_of(data)
        self.blobs[digest] = bytes(data)
        return digest

    def put_blob_file(self, path: str | os.PathLike[str]) -> tuple[str, int]:
        data = Path(path).read_bytes()
        return self.put_blob(data), len(data)

    def has_blob(self, digest: str) -> bool:
        return digest in self.blobs

    def get_blob(self, digest: str) -> bytes:
        if digest not in self.blobs:
            raise self._missing(digest)
        return self.blobs[digest]
