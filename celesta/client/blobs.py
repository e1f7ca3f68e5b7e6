"""A store that only takes blobs and hands them to the server, so that the codecs can encode values of a client."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from celesta.files import File
from celesta.hashing import digest_of
from celesta.store.base import Store

if TYPE_CHECKING:
    from celesta.client.api import Client


class ServerBlobs(Store):
    """Blobs of one project on a server. What is there already is not sent again."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.url = client.url

    def put_blob(self, data: bytes) -> str:
        digest = digest_of(data)
        if not self.client.has_blob(digest):
            self.client.upload(digest, data)
        return digest

    def put_blob_file(self, path: str | os.PathLike[str]) -> tuple[str, int]:
        file = File(path)
        digest = file.digest
        if not self.client.has_blob(digest):
            self.client.upload(digest, file.path)
        return digest, file.size
