"""Versions of a workflow for people: what changed between two, and choosing the one that launches and schedules use."""

from flask import redirect, request, url_for
from werkzeug.wrappers import Response

from app.db import db
from app.guard import principal
from app.models import Project
from app.services import version_diff, workflow_query
from app.services.version_activate import activate_version
from app.services.version_find import find_version
from app.services.version_rollback import roll_back
from app.stores import store
from app.web.pages import page, show


@page("/projects/<project>/workflows/<workflow>/diff/<version>", "viewer")
def version_changes(project: Project, workflow: str, version: str) -> str:
    """From a version to another, by default to the active one."""
    found = workflow_query.get(db.session, project, workflow)
    left = find_version(db.session, project, workflow, version)
    right = find_version(db.session, project, workflow, request.args.get("to") or None)
    return show(
        "version_diff.html",
        "workflows",
        workflow=found,
        left=workflow_query.version_document(found, left),
        right=workflow_query.version_document(found, right),
        diff=version_diff.diff(store(), left, right),
    )


@page("/projects/<project>/workflows/<workflow>/activate", "editor", method="POST")
def activate(project: Project, workflow: str) -> Response:
    activate_version(db.session, principal(), project, workflow, request.form["version"])
    return redirect(url_for("web.workflow", project=project.name, workflow=workflow), 303)


@page("/projects/<project>/workflows/<workflow>/rollback", "editor", method="POST")
def rollback(project: Project, workflow: str) -> Response:
    roll_back(db.session, store(), principal(), project, workflow, request.form.get("to") or None)
    return redirect(url_for("web.workflow", project=project.name, workflow=workflow), 303)
