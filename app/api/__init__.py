"""The REST interface: one module per noun with its schemas and routes, below `/api/v1`; and `/healthz` and its kin.

`register` is called by `create_app`. Views call services and queries, and know no SQL. Owns the error payload, the
permission of every route, and the OpenAPI document.
"""

from functools import lru_cache
from typing import Any

from flask import Flask, Response, current_app, request
from flask_smorest import Api
from werkzeug.exceptions import UnsupportedMediaType

from app import events, guard, problems
from app.api import (
    archives,
    artifacts,
    blobs,
    cache,
    comparisons,
    health,
    identity,
    limits,
    models,
    reruns,
    runs,
    schedules,
    shares,
    step,
    steps,
    workflows,
)
from app.api.schemas import Error, answer_with
from app.guard import PUBLIC, access_of, allow

PREFIX = "/api/v1"
NOUNS = (
    identity, limits, blobs, workflows, runs, reruns, comparisons, archives, steps, step, artifacts, cache, models,
    schedules, shares,
)  # fmt: skip
FORM_MEMORY_BYTES = 16 << 20


def register(app: Flask) -> None:
    """Adds the routes and the hooks; the order of hooks is body type, then permission."""
    app.config |= {
        "API_TITLE": "Celesta",
        "API_VERSION": "v1",
        "OPENAPI_VERSION": "3.1.0",
        "MAX_FORM_MEMORY_SIZE": FORM_MEMORY_BYTES,
    }
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.json.compact = True  # type: ignore[attr-defined]
    api = Described(
        app, spec_kwargs={"info": {"description": "Workflows, runs, steps and artifacts of a Celesta server"}}
    )
    for noun in NOUNS:
        api.register_blueprint(noun.routes.blueprint, url_prefix=PREFIX)
    app.add_url_rule(f"{PREFIX}/openapi.json", "openapi", openapi)
    app.extensions["celesta.api"] = api
    events.init_app(app, app.config["CELESTA"])
    health.init_app(app)
    app.before_request(_refuse_other_bodies)
    problems.init_app(app)
    guard.init_app(app)


class Described(Api):  # type: ignore[misc]
    """Its errors are ours, also those of its own argument checks."""

    ERROR_SCHEMA = Error


def _refuse_other_bodies() -> None:
    """A body that is not JSON is told so, instead of being taken for an empty one."""
    access = access_of(current_app, request.endpoint) if request.endpoint else None
    ours = request.path.startswith(PREFIX) and access is not None and not access.raw
    if ours and request.mimetype and not request.is_json and request.method not in ("GET", "HEAD"):
        raise UnsupportedMediaType(f"send JSON (Content-Type: application/json), not {request.mimetype}")


@allow(PUBLIC)
def openapi() -> Response:
    """The description of this interface for tools (OpenAPI 3.1)."""
    return answer_with(_document(current_app.extensions["celesta.api"]))


@lru_cache(maxsize=2)
def _document(api: Api) -> dict[str, Any]:
    """Every operation may answer with the error payload, and takes a token or the operating-system user on loopback."""
    api.spec.components.security_scheme("token", {"type": "http", "scheme": "bearer"})
    document: dict[str, Any] = api.spec.to_dict()
    problem = {"schema": {"$ref": "#/components/schemas/Error"}}
    answer = {"description": "an error", "content": {"application/json": problem}}
    for operations in document["paths"].values():
        for operation in operations.values():
            if "responses" in operation:
                operation["responses"]["default"] = answer
    return document | {"security": [{"token": []}, {}]}
