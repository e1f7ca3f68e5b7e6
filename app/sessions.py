"""The browser's session: a signed cookie that names the token somebody signed in with, and the secret of its forms.

`app.access` asks whose it is, `app.web` begins and ends it. The token itself is never in the cookie: when it is revoked
or expires, the session is over. Tells a change that a page of another site could have sent.
"""

import hmac
import secrets
from datetime import timedelta
from typing import NamedTuple
from urllib.parse import urlsplit

from flask import Flask, Request, current_app, request, session
from flask.sessions import SecureCookieSessionInterface

from app.config import Config

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
FIELD, HEADER = "csrf_token", "X-CSRF-Token"
TOKEN = "token"  # noqa: S105 - the name of an entry
LONGEST = timedelta(days=14)
"""A session ends with the browser, with its token, and at the latest after this."""


class Named(NamedTuple):
    """The token that the cookie names. The prefix tells it from one of the same number in an earlier database."""

    id: int
    prefix: str


class Cookies(SecureCookieSessionInterface):
    """Sent over https only, where the server is reached by https."""

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure or str(app.config["CELESTA"].url or "").startswith("https://")


def init_app(app: Flask) -> None:
    app.session_interface = Cookies()
    app.config |= {
        "SESSION_COOKIE_NAME": "celesta",
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",  # Strict would ask everybody to sign in who follows a link from a mail
        "PERMANENT_SESSION_LIFETIME": LONGEST,
    }
    app.add_template_global(csrf_token)


def begin(named: Named) -> None:
    """Nothing of the session before it stays: not even the secret of its forms."""
    session.clear()
    session[TOKEN] = list(named)


def end() -> None:
    session.clear()


def named() -> Named | None:
    """The token that this browser signed in with, if it did."""
    held = session.get(TOKEN)
    return Named(*held) if held else None


def csrf_token() -> str:
    """The secret in the forms of this browser; pages of other sites cannot read it."""
    if FIELD not in session:
        session[FIELD] = secrets.token_urlsafe(24)
    return str(session[FIELD])


def form_is_ours(request: Request) -> bool:
    """Whether the form, or the header of a script, has the secret of this browser."""
    sent, known = request.headers.get(HEADER) or request.form.get(FIELD, ""), str(session.get(FIELD, ""))
    return bool(known) and hmac.compare_digest(sent.encode(), known.encode())


def is_own_page(request: Request) -> bool:
    """Whether a change was sent by a page of ours in this browser. That the cookie came with it proves nothing."""
    return _is_own_origin(request, current_app.config["CELESTA"]) and form_is_ours(request)


def _is_own_origin(request: Request, config: Config) -> bool:
    """Behind a proxy the host that we see may be our own; then `CELESTA_URL` tells the one that people see."""
    origin = request.headers.get("Origin")
    ours = {request.host, urlsplit(config.url or "").netloc}
    if origin is not None and urlsplit(origin).netloc not in ours - {""}:
        return False
    return request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")
