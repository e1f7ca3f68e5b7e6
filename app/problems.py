"""One answer for every error: `{"code", "message", "errors", "request_id"}` for programs, a page for people.

Owns the mapping of errors to statuses and the request id, which comes in and goes out as `X-Request-ID`. An error that
nobody foresaw is logged with its traceback and told without it.
"""

import logging
import re
import secrets
from collections.abc import Iterator
from typing import Any

import redis
from flask import Flask, Response, g, jsonify, render_template, request
from sqlalchemy.exc import DataError, OperationalError
from werkzeug.exceptions import HTTPException

from app.access import UnauthorizedError
from app.events import Busy
from celesta.errors import (
    AccessError,
    CelestaError,
    CodecError,
    ConflictError,
    InputError,
    NotFoundError,
    Problem,
    StoreError,
    TooLarge,
)

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
STATUSES: tuple[tuple[type[CelestaError], int], ...] = (
    (UnauthorizedError, 401),
    (AccessError, 403),
    (NotFoundError, 404),
    (ConflictError, 409),
    (TooLarge, 413),
    (InputError, 422),
    (CodecError, 422),
    (StoreError, 503),
)
CODES = {
    400: "bad_request",
    404: "unknown_path",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid_input",
    500: "internal",
}
RETRY_SECONDS = 2
log = logging.getLogger(__name__)


def init_app(app: Flask) -> None:
    app.after_request(_give_request_id)
    app.register_error_handler(CelestaError, _celesta_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Busy, _busy)
    for outage in (OperationalError, redis.RedisError):
        app.register_error_handler(outage, _outage)
    app.register_error_handler(DataError, _unfit)
    app.register_error_handler(Exception, _unforeseen)


def request_id() -> str:
    """The id that the request came with, or one that it gets when it is first asked for: there always is one."""
    if "request_id" not in g:
        given = request.headers.get("X-Request-ID", "")
        g.request_id = given if REQUEST_ID.match(given) else secrets.token_hex(8)
    return str(g.request_id)


def _give_request_id(response: Response) -> Response:
    response.headers["X-Request-ID"] = request_id()
    return response


def answer(status: int, code: str, message: str, errors: Any = None) -> Response:
    """The error payload, or a page when a person asked outside of the REST interface."""
    if not for_people():
        payload = {"code": code, "message": message, "errors": errors or [], "request_id": request_id()}
        response = jsonify(payload)
    else:
        title = {401: "Not signed in", 403: "Not allowed", 404: "Not found"}.get(status, "That did not work")
        page = render_template("error.html", title=title, message=message, request_id=request_id())
        response = Response(page, mimetype="text/html")
    response.status_code = status
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if status == 503:
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


def for_people() -> bool:
    """Whether the path belongs to the dashboard."""
    return not request.path.startswith(("/api/", "/healthz", "/readyz", "/metrics"))


def problems_of(error: CelestaError) -> list[Any]:
    """What an error has to list: problems with their places, or the things that it names."""
    found = getattr(error, "problems", None) or getattr(error, "digests", None) or []
    return [{"where": item.where, "message": item.message} if isinstance(item, Problem) else item for item in found]


def status_of(error: CelestaError) -> int:
    known = next((status for kind, status in STATUSES if isinstance(error, kind)), None)
    return known or (400 if error.kind == "user" else 503)


def _celesta_error(error: CelestaError) -> Response:
    status = status_of(error)
    if status >= 500:
        log.error("request %s: %s", request_id(), error, exc_info=error)
    return answer(status, error.code, str(error), problems_of(error))


def _http_error(error: HTTPException) -> Response:
    """Those of the router, of the body's parser, and of argument checks."""
    if error.response is not None:
        return error.response  # type: ignore[return-value]
    status = error.code or 500
    found = list(_flat(getattr(error, "data", {}).get("messages", {})))
    code = CODES.get(status) or error.name.lower().replace(" ", "_")
    message = "; ".join(str(Problem(**item)) for item in found) or str(error.description)
    if status == 404:
        message = f"there is nothing at {request.path}; the API is described at /api/v1/openapi.json"
    if status == 413 and request.max_content_length:
        message = f"the body has more than {request.max_content_length:,} bytes, the most that this server takes"
    response = answer(status, code, message, found)
    for name, value in error.get_headers(request.environ):
        if name in ("Allow", "Location"):
            response.headers[name] = value
    return response


def _flat(messages: Any, where: str = "") -> Iterator[dict[str, str]]:
    """The nested messages of marshmallow as a list of places and messages."""
    if isinstance(messages, dict):
        for name, inner in messages.items():
            top = not where and name in ("json", "query", "form", "files", "headers", "path")
            inside = where if top or name == "_schema" else f"{where}.{name}".lstrip(".")
            yield from _flat(inner, inside)
    elif isinstance(messages, list | tuple):
        for inner in messages:
            yield from _flat(inner, where)
    else:
        yield {"where": where, "message": str(messages)}


def _busy(_: Busy) -> Response:
    return answer(503, "busy", "too many live followers on this server; ask without following, or try again later")


def _unfit(error: DataError) -> Response:
    """PostgreSQL alone is strict: it takes no NUL in a text."""
    return answer(422, "invalid_input", f"the database cannot hold what was sent: {error.orig}")


def _outage(error: Exception) -> Response:
    log.error("request %s: a service does not answer", request_id(), exc_info=error)
    return answer(503, "unavailable", "the database or Redis does not answer; try again")


def _unforeseen(error: Exception) -> Response:
    log.error("request %s failed", request_id(), exc_info=error)
    return answer(500, "internal", f"the server made a mistake; its log tells more under request {request_id()}")
