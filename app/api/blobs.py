"""Raw bytes in and out, by digest: bundles, files for inputs, and what artifacts point to."""

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from flask import Response, request
from marshmallow import Schema, fields

from app.api.noun import Noun
from app.api.schemas import answer_with
from app.db import current_config, db
from app.guard import principal
from app.models import Project
from app.services import blob_access
from app.stores import store
from celesta.errors import InputError, NotFoundError, Problem, TooLarge
from celesta.store.base import blob_key, is_digest

routes = Noun("blobs", "Bytes by the SHA-256 of their content")
CHUNK_BYTES = 1 << 20


class BlobDocument(Schema):
    digest = fields.String()
    size = fields.Integer()
    created = fields.Boolean(metadata={"description": "false: it was there already"})


@routes.route("GET", "/projects/<project>/blobs/<digest>", "viewer", answer="application/octet-stream")
def get_blob(project: Project, digest: str) -> Response:
    """The bytes of a blob that a project of the caller refers to (HEAD: only whether it is there, and its size)"""
    if not blob_access.may_read(db.session, blob_access.projects_of(principal()), _checked(digest)):
        raise _absent(digest)
    return send_blob(digest)


@routes.route("PUT", "/projects/<project>/blobs/<digest>", "editor", answer=BlobDocument, status=201, raw=True)
def put_blob(project: Project, digest: str) -> Response:
    """Store bytes under their digest; storing them again changes nothing"""
    return keep_blob(digest, project.id)


def send_blob(digest: str) -> Response:
    """The blob as the answer to this request."""
    size = store().size(blob_key(_checked(digest)))
    if size is None:
        raise _absent(digest)
    if request.method == "HEAD":
        store().keep(blob_key(digest), size)  # whoever asks means to rely on it
    body = None if request.method == "HEAD" else chunks(store().open_blob(digest))
    response = Response(body, mimetype="application/octet-stream")
    response.content_length = size
    response.headers["Content-Disposition"] = "attachment"
    return response


def keep_blob(digest: str, project_id: int) -> Response:
    """Stores the body of this request for a project, when its bytes have this digest."""
    _checked(digest)
    limit = current_config().max_blob_bytes
    if request.content_length is not None and request.content_length > limit:
        raise TooLarge(f"the blob has {request.content_length:,} bytes; at most {limit:,} are taken")
    with tempfile.TemporaryDirectory(prefix="celesta-blob-") as folder:
        path = Path(folder) / "blob"
        size = _receive(path, digest)
        created = not store().keep(blob_key(digest), size)
        if created:
            store().put_blob_file(path)
    blob_access.uploaded(db.session, project_id, digest)
    return answer_with({"digest": digest, "size": size, "created": created}, 201 if created else 200)


def _receive(path: Path, digest: str) -> int:
    """Streams the body to a file; nothing of a body with another digest reaches the store."""
    seen, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        while chunk := request.stream.read(CHUNK_BYTES):
            seen.update(chunk)
            size += len(chunk)
            file.write(chunk)
    if seen.hexdigest() != digest:
        raise InputError([Problem("digest", f"the bytes sent have the digest {seen.hexdigest()}, not {digest}")])
    return size


def _absent(digest: str) -> NotFoundError:
    """The same for what is nowhere and for what is of others: a digest alone tells nobody of it."""
    return NotFoundError(f"there is no blob {digest}; put it first")


def _checked(digest: str) -> str:
    if not is_digest(digest):
        raise InputError([Problem("digest", f"{digest!r} is no digest; one has 64 lower-case hex characters")])
    return digest


def chunks(stream: BinaryIO) -> Iterator[bytes]:
    """The stream, piece by piece, and then closed."""
    with stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk
