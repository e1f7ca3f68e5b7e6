"""The dashboard: one module per page. Pages are whole without scripts; scripts make them live.

`register` is called by `create_app`, after `app.api`. Pages show the documents of the REST interface. Refuses logic of
its own: what a page knows, a query or a service of `app.services` knows.
"""

from flask import Flask

from app.guard import PUBLIC, allow
from app.web import (
    artifacts,
    compare,
    format,
    home,
    models,
    pages,
    reruns,
    runs,
    safety,
    sign_in,
    steps,
    versions,
    workflows,
)

__all__ = [
    "artifacts", "compare", "home", "models", "register", "reruns", "runs", "sign_in", "steps", "versions", "workflows",
]  # fmt: skip


def register(app: Flask) -> None:
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    app.view_functions["static"] = allow(PUBLIC)(app.view_functions["static"])
    app.add_template_global(pages.projects)
    app.add_template_global(pages.static_url)
    format.init_app(app)
    safety.init_app(app)
    sign_in.init_app(app)
    app.register_blueprint(pages.web)
