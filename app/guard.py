"""Which principal may call which route: every view says so, and a view that says nothing is refused.

`@allow(...)` marks a view; one hook before every request reads the mark, authenticates, and puts the `Project` in the
place of its name in the view's arguments. A test walks the map of routes and fails on one without a mark.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import Flask, Request, Response, current_app, g, request

from app.access import Principal, authenticate, project_for
from app.config import Config
from app.db import current_config, db
from app.models.identity import ROLES
from celesta.errors import AccessError

PUBLIC = "public"
SIGNED_IN = "signed-in"
MARK = "celesta_access"
Authenticate = Callable[[Request, Any, Config], Principal]
View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True)
class Access:
    """What a route asks: nothing (`public`), a known caller (`signed-in`), or a role in the project of its path."""

    role: str
    raw: bool = False
    """The body is bytes or a form, not JSON; its limit is that of a blob."""
    by: Authenticate = authenticate
    """By what the caller is known."""


def allow(role: str, *, raw: bool = False, by: Authenticate = authenticate) -> Callable[[View], View]:
    """Marks a view. `role` is `public`, `signed-in`, or a role in the project of the path."""
    if role not in (PUBLIC, SIGNED_IN, *ROLES):
        raise ValueError(f"{role!r} is no role")

    def mark(view: View) -> View:
        setattr(view, MARK, Access(role, raw, by))
        return view

    return mark


def access_of(app: Flask, endpoint: str) -> Access | None:
    found: Access | None = getattr(app.view_functions[endpoint], MARK, None)
    return found


def init_app(app: Flask) -> None:
    app.before_request(_check)


def principal() -> Principal:
    """Who calls; in routes that are not public."""
    found: Principal = g.principal
    return found


def _check() -> Response | None:
    if request.endpoint is None:  # no such route: the answer is a 404 or 405 of the router
        return None
    access = access_of(current_app, request.endpoint)
    if access is None:
        raise AccessError("this route has no permission, so nobody may use it; this is a mistake of the server")
    if access.raw:
        request.max_content_length = current_config().max_blob_bytes
    if access.role == PUBLIC:
        return None
    g.principal = access.by(request, db.session, current_config())
    if access.role != SIGNED_IN and request.view_args is not None:
        name = request.view_args["project"]
        g.project = request.view_args["project"] = project_for(db.session, g.principal, name, access.role)
    return None
