"""Signing in with a token, and out. Every page sends here who is not known; the REST interface answers them 401.

The token in the form is what makes its caller known, so these routes ask for a known caller as all others do. Owns the
limit of failed tries: tokens cannot be guessed, but each guess would cost a query.
"""

import re
from typing import Any

from flask import Flask, Request, g, make_response, redirect, render_template, request, url_for
from werkzeug.urls import iri_to_uri
from werkzeug.wrappers import Response

from app import problems, sessions
from app.access import Principal, UnauthorizedError, principal_of_token
from app.config import Config
from app.events import hub
from app.guard import SIGNED_IN, principal
from app.web.pages import page, web

TRIES, TRIES_SECONDS = 10, 60
FORM_BYTES = 8_000
LOCAL_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*\Z")
"""A path of this server: other sites begin with two slashes, and browsers take a backslash for a slash."""


class TooManyTries(UnauthorizedError):
    """Too many wrong tokens came from this address a moment ago."""

    code = "too_many_tries"


def init_app(app: Flask) -> None:
    app.register_error_handler(UnauthorizedError, ask)
    app.add_template_global(signed_in_as)


def principal_of_form(request: Request, session: Any, config: Config) -> Principal:
    """Whose token the form has; raises `UnauthorizedError`, or `TooManyTries` without looking at it."""
    request.max_content_length = FORM_BYTES
    if not sessions.is_own_page(request):
        raise UnauthorizedError("this form was too old, or your browser keeps no cookies; try again")
    redis, key = hub().redis, f"celesta:sign-in:{request.remote_addr}"
    if int(redis.get(key) or 0) >= TRIES:
        raise TooManyTries(f"too many wrong tokens; wait for {TRIES_SECONDS} seconds, and try again")
    try:
        return principal_of_token(session, request.form.get("token", "").strip())
    except UnauthorizedError:
        redis.pipeline().incr(key).expire(key, TRIES_SECONDS).execute()
        raise


@page("/sign-in", SIGNED_IN)
def sign_in() -> Response:
    """Who is known already goes on; `ask` shows the form to everyone else."""
    return redirect(_next(), 303)


@page("/sign-in", SIGNED_IN, method="POST", by=principal_of_form)
def sign_in_with_token() -> Response:
    token = principal().token
    if token is not None:
        sessions.begin(token)
    return redirect(_next(), 303)


@page("/sign-out", SIGNED_IN, method="POST")
def sign_out() -> Response:
    sessions.end()
    return redirect(url_for("web.sign_in"), 303)


def signed_in_as() -> str | None:
    """The name of who signed in with this browser; None for the operating-system user."""
    known: Principal | None = g.get("principal")
    return known.name if known and sessions.named() else None


def ask(error: UnauthorizedError) -> Response:
    """The form for people who have no session; programs are told 401."""
    looks = request.method in sessions.SAFE_METHODS
    wants_page = request.blueprint == web.name and request.accept_mimetypes.accept_html
    if request.endpoint == "web.sign_in_with_token":
        return _form(429 if isinstance(error, TooManyTries) else 401, str(error))
    if not wants_page:
        return problems.answer(401, error.code, str(error))
    if request.endpoint == "web.sign_in":
        return _form(200)
    came_for = iri_to_uri(request.full_path).rstrip("?") if looks else None
    return redirect(url_for("web.sign_in", next=came_for), 303)


def _form(status: int, error: str = "") -> Response:
    response = make_response(render_template("sign_in.html", next=_next(), error=error), status)
    response.cache_control.no_store = True
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if status == 429:
        response.headers["Retry-After"] = str(TRIES_SECONDS)
    return response


def _next() -> str:
    """Where to go afterwards: a path of this server, whatever the address asks for."""
    wanted = request.args.get("next", "")
    return wanted if LOCAL_PATH.match(wanted) else url_for("web.home")
