"""Addresses: of pages that REST documents point to, and the numbers in them. Called by `app.api` and `app.web`."""

from typing import Any

from flask import url_for
from werkzeug.routing import IntegerConverter, Map

from app.db import current_config
from app.models import Project
from app.models.columns import MAX_KEY


class RowNumber(IntegerConverter):
    """`<int:…>` in a path: the number of a row. One that no row can have is not found."""

    def __init__(self, map: Map, **options: Any) -> None:
        super().__init__(map, **{"max": MAX_KEY, **options})


def run_link(project: Project) -> str:
    """The address of a run's page, with `{run}` for its id: under `CELESTA_URL`, else where we were asked."""
    base = current_config().url
    path = url_for("web.run", project=project.name, run="RUN", _external=base is None)
    return f"{(base or '').rstrip('/')}{path}".removesuffix("RUN") + "{run}"
