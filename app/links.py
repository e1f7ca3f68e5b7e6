"""The addresses of pages that REST documents point to. Called by `app.api` and `app.web`."""

from flask import url_for

from app.db import current_config
from app.models import Project


def run_link(project: Project) -> str:
    """The address of a run's page, with `{run}` for its id: under `CELESTA_URL`, else where we were asked."""
    base = current_config().url
    path = url_for("web.run", project=project.name, run="RUN", _external=base is None)
    return f"{(base or '').rstrip('/')}{path}".removesuffix("RUN") + "{run}"
