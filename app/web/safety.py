"""What keeps a browser safe: security headers on every answer, and a token in every form.

The policy lets a page load nothing but our own files: no inline script or style, no frame around it. A form's token is
kept in the signed cookie of `app.sessions`, so that a page of another site cannot make a form that we accept;
`app.access` refuses foreign origins besides.
"""

from flask import Flask, Response, abort, request

from app import sessions

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "frame-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def init_app(app: Flask) -> None:
    app.after_request(_add_headers)


def check_form() -> None:
    """Refuses a form that was not made by us for this browser. Called before every view of the dashboard."""
    if request.method not in sessions.SAFE_METHODS and not sessions.form_is_ours(request):
        abort(403, "This form is too old, or not from this page. Go back, load the page again, and send it again.")


def _add_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response
