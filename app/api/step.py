"""What a step in a container asks of the server: its document, its inputs, and a place for what it made.

The caller is known by the token of its attempt and by nothing else; `app.services.step_access` says what that opens.
Bytes are streamed, and those of inputs come from the object store itself where it can hand out links.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from flask import Request, Response, g, redirect, request
from marshmallow import Schema, fields
from werkzeug.wrappers import Response as AnyResponse

from app.access import Principal, UnauthorizedError
from app.api.blobs import CHUNK_BYTES, chunks, keep_blob, send_blob
from app.api.noun import Noun
from app.api.schemas import answer_with
from app.config import Config
from app.db import current_config, db
from app.guard import SIGNED_IN
from app.secret import secret_key
from app.services import step_access
from app.services.runtime_archive import runtime_archive
from app.services.step_access import Attempt
from app.services.step_result import check_result
from app.stores import store
from celesta.errors import ConflictError, InputError, NotFoundError, TooLarge
from celesta.runtime import checkpoints
from celesta.runtime.leave import create_result
from celesta.store.base import blob_key

routes = Noun("step", "What a step in a container reads and writes, with the token of its attempt")

LINK_SECONDS = 60
CREATED_ONCE = ("outputs.json", "result.json")
REPLACED = ("log.txt", "report.html", checkpoints.NAME)


class BlobArguments(Schema):
    stream = fields.Boolean(load_default=False, metadata={"description": "from this server, not by a link"})


class FreshToken(Schema):
    token = fields.String()


def step_of_token(request: Request, session: Any, config: Config) -> Principal:
    """The step whose token the request bears; raises `UnauthorizedError`, or `AccessError` when its attempt is over."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise UnauthorizedError("send the step's token as: Authorization: Bearer cst_…")
    g.attempt = step_access.attempt_of(secret_key(config), token.strip())
    step_access.require_current(session, g.attempt)
    return Principal(name=f"step {g.attempt.run}/{g.attempt.path}")


def attempt() -> Attempt:
    found: Attempt = g.attempt
    return found


@routes.route("GET", "/step", SIGNED_IN, by=step_of_token, answer="application/json")
def get_step() -> Response:
    """The step document of this attempt"""
    return answer_with(step_access.step_document(store(), attempt()))


@routes.route("GET", "/step/runtime", SIGNED_IN, by=step_of_token, answer="application/zip")
def get_runtime() -> Response:
    """The package `celesta`, for a container that has only Python"""
    return Response(runtime_archive(), mimetype="application/zip")


@routes.route("POST", "/step/token", SIGNED_IN, by=step_of_token, answer=FreshToken)
def renew_token() -> Response:
    """A fresh token for the same attempt"""
    config = current_config()
    return answer_with({"token": step_access.renew(secret_key(config), attempt(), config.step_token_seconds)})


@routes.route(
    "GET", "/step/blobs/<digest>", SIGNED_IN, by=step_of_token, query=BlobArguments, answer="application/octet-stream"
)
def get_input(arguments: dict[str, bool], digest: str) -> AnyResponse:
    """The bytes of a blob that an input or the bundle names (307: at that address, for a minute)"""
    step_access.require_readable(store(), attempt(), digest)
    wants_link = request.method == "GET" and not arguments["stream"]
    link = store().link(blob_key(digest), LINK_SECONDS) if wants_link else None
    return redirect(link, 307) if link else send_blob(digest)


@routes.route("PUT", "/step/blobs/<digest>", SIGNED_IN, by=step_of_token, answer="application/json", raw=True)
def put_output(digest: str) -> Response:
    """Store bytes of an output under their digest; storing them again changes nothing"""
    return keep_blob(digest, _project_id())


@routes.route("GET", "/step/objects/<name>", SIGNED_IN, by=step_of_token, answer="application/octet-stream")
def get_object(name: str) -> Response:
    """An object of this attempt; of a checkpoint, the newest of all attempts at the step"""
    key = checkpoints.newest(store(), attempt().run, attempt().path) if name == checkpoints.NAME else _key(name)
    found = store().open(key) if key else None
    if found is None:
        raise NotFoundError(f"step {attempt().path!r} has no {name}")
    return Response(chunks(found), mimetype="application/octet-stream")


@routes.route("PUT", "/step/objects/<name>", SIGNED_IN, by=step_of_token, answer="application/json", raw=True)
def put_object(name: str) -> Response:
    """Keep an object of this attempt: log, report and checkpoint are replaced, outputs and result created once"""
    key = _key(name)
    if name in CREATED_ONCE:
        return _create_once(name, key)
    if store().size(_key("result.json")) is not None:
        raise ConflictError(f"attempt {attempt().token} at step {attempt().path!r} has its result already")
    with tempfile.TemporaryDirectory(prefix="celesta-object-") as folder:
        path = Path(folder) / "object"
        with path.open("wb") as file:
            while chunk := request.stream.read(CHUNK_BYTES):
                file.write(chunk)
        store().put_file(key, path)
    return answer_with({"created": True})


def _create_once(name: str, key: str) -> Response:
    limit = current_config().max_body_bytes
    data = request.stream.read(limit + 1)
    if len(data) > limit:
        raise TooLarge(f"{name} has more than {limit:,} bytes")
    try:
        result = json.loads(data)
    except (ValueError, RecursionError):
        raise InputError(f"{name} is not JSON") from None
    check_result(result, step_access.step_document(store(), attempt()))
    step_access.require_own(db.session, store(), attempt(), result)
    kept = create_result(result, store(), key)
    if name == "result.json" and kept["status"] == "succeeded":
        checkpoints.forget(store(), attempt().run, attempt().path, attempt().token)
    return answer_with(kept, 201 if kept is result else 200)


def _project_id() -> int:
    return step_access.project_of(db.session, attempt())


def _key(name: str) -> str:
    if name not in (*CREATED_ONCE, *REPLACED):
        raise NotFoundError(f"a step has no object {name!r}, but {', '.join((*CREATED_ONCE, *REPLACED))}")
    return f"{attempt().prefix}{name}"
