"""The list of models, and one of them: its versions with their metrics, its aliases, and what waits for approval."""

from typing import Any

from flask import redirect, request, url_for
from werkzeug.wrappers import Response

from app.db import db
from app.guard import principal
from app.models import Project
from app.services import model_query
from app.services.alias_move import decide_move, move_alias, roll_back_alias
from app.services.model_find import find_model
from app.web.pages import cursor, neighbours, page, show

MODELS_SHOWN = 50
VERSIONS_SHOWN = 20
METRICS_SHOWN = 6


@page("/projects/<project>/models", "viewer")
def models(project: Project) -> str:
    found = model_query.page(db.session, project, cursor=cursor(), limit=MODELS_SHOWN)
    return show(
        "models.html",
        "models",
        models=model_query.listed(db.session, found.items),
        **neighbours(found),
    )


@page("/projects/<project>/models/<model>", "viewer")
def model(project: Project, model: str) -> str:
    found = find_model(db.session, project, model)
    versions = model_query.versions(db.session, found, cursor=cursor(), limit=VERSIONS_SHOWN)
    documents = model_query.version_documents(db.session, found, versions.items)
    return show(
        "model.html",
        "models",
        model=model_query.document(db.session, found),
        versions=documents,
        metrics=_metrics(documents),
        guarded=model_query.guarded(db.session, project),
        may_decide=principal().may("owner", project.id),
        **neighbours(versions),
    )


@page("/projects/<project>/models/<model>/alias", "editor", method="POST")
def model_alias(project: Project, model: str) -> Response:
    form = request.form
    move_alias(
        db.session, principal(), project, model, form.get("alias", ""), form.get("version", ""), form.get("note", "")
    )
    return _back(project, model)


@page("/projects/<project>/models/<model>/rollback", "editor", method="POST")
def model_rollback(project: Project, model: str) -> Response:
    roll_back_alias(db.session, principal(), project, model, request.form.get("alias", ""))
    return _back(project, model)


@page("/projects/<project>/models/<model>/moves/<int:move>", "owner", method="POST")
def model_decide(project: Project, model: str, move: int) -> Response:
    decide_move(db.session, principal(), project, model, move, request.form.get("decision") == "approve")
    return _back(project, model)


def _metrics(versions: list[dict[str, Any]]) -> list[str]:
    """The columns of the table: the metrics that most versions have."""
    names: dict[str, int] = {}
    for version in versions:
        for name in version["metrics"]:
            names[name] = names.get(name, 0) + 1
    return sorted(names, key=lambda name: -names[name])[:METRICS_SHOWN]


def _back(project: Project, model: str) -> Response:
    return redirect(url_for("web.model", project=project.name, model=model), 303)
