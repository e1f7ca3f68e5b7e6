"""The list of workflows, one workflow with its graph and versions, and launching it from a form."""

from typing import Any

from flask import redirect, request, url_for
from werkzeug.wrappers import Response

from app.db import current_config, db
from app.guard import principal
from app.links import run_link
from app.models import Project, Version, Workflow
from app.services import run_query, version_rollback, workflow_query
from app.services.run_launch import launch_run
from app.services.version_find import find_version
from app.stores import store
from app.web.forms import LaunchForm
from app.web.pages import cursor, neighbours, page, sent_form, show
from app.web.runs import DRAWN_STEPS
from celesta.errors import InputError

WORKFLOWS_SHOWN = 50
RUNS_SHOWN = 10
VERSIONS_SHOWN = 10


@page("/projects/<project>/workflows", "viewer")
def workflows(project: Project) -> str:
    found = workflow_query.page(db.session, project, cursor=cursor(), limit=WORKFLOWS_SHOWN)
    return show(
        "workflows.html",
        "workflows",
        workflows=[workflow_query.document(listed) for listed in found.items],
        **neighbours(found),
    )


@page("/projects/<project>/workflows/<workflow>", "viewer")
def workflow(project: Project, workflow: str) -> str:
    found = workflow_query.get(db.session, project, workflow)
    version = find_version(db.session, project, workflow, request.args.get("version") or None)
    earlier = request.args.get("from_run", "")
    inputs = run_query.get(db.session, project, earlier).inputs if earlier else {}
    return _page(project, found, version, LaunchForm.fresh(version.interface, inputs, store()))


@page("/projects/<project>/workflows/<workflow>/launch", "editor", method="POST", raw=True)
def launch(project: Project, workflow: str) -> Response | tuple[str, int]:
    found = workflow_query.get(db.session, project, workflow)
    version = find_version(db.session, project, workflow, request.form.get("version") or None)
    form = sent_form(project, version.interface)
    if not form.is_wrong:
        try:
            run = launch_run(
                db.session,
                current_config(),
                store(),
                principal(),
                project,
                workflow=found.name,
                version=version.digest,
                inputs=form.inputs,
                input_refs=form.input_refs,
                options=form.options,
                idempotency_key=form.idempotency_key,
            )
            return redirect(url_for("web.run", project=project.name, run=run.id), 303)
        except InputError as error:
            form.blame(error.problems)
    return _page(project, found, version, form), 422


def _page(project: Project, workflow: Workflow, version: Version, form: LaunchForm) -> str:
    versions = workflow_query.versions(db.session, workflow, cursor=cursor(), limit=VERSIONS_SHOWN)
    newest = run_query.page(db.session, project, workflow=workflow.name, limit=RUNS_SHOWN)
    drawn = version.step_count <= DRAWN_STEPS
    document: dict[str, Any] = workflow_query.version_document(workflow, version, store())
    return show(
        "workflow.html",
        "workflows",
        workflow=workflow,
        version=document,
        versions=[workflow_query.version_document(workflow, other) for other in versions.items],
        **neighbours(versions),
        runs=run_query.documents(db.session, project, newest.items, run_link(project)),
        earlier=version_rollback.earlier(db.session, workflow),
        graph=workflow_query.graph(store(), version.plan_blob) if drawn else None,
        states={},
        live=False,
        link=lambda node: f"#task-{node['task']}",
        form=form,
    )
