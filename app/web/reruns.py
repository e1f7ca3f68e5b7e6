"""Pausing, resuming and repeating a run: what a repetition would do is shown before it is launched."""

from typing import Any

from flask import redirect, request, url_for
from werkzeug.wrappers import Response

from app.db import current_config, db
from app.guard import principal
from app.models import Project, Run
from app.services import run_query
from app.services.run_again import Again, preview_again, recover, rerun, run_again
from app.services.run_pause import pause_run, resume_run
from app.stores import store
from app.web.forms import LaunchForm
from app.web.pages import page, sent_form, show
from celesta.errors import InputError

PATH = "/projects/<project>/runs/<run>"


@page(f"{PATH}/pause", "editor", method="POST")
def pause(project: Project, run: str) -> Response:
    pause_run(db.session, current_config(), principal(), project, run_query.get(db.session, project, run))
    return redirect(url_for("web.run", project=project.name, run=run), 303)


@page(f"{PATH}/resume", "editor", method="POST")
def resume(project: Project, run: str) -> Response:
    resume_run(db.session, current_config(), principal(), project, run_query.get(db.session, project, run))
    return redirect(url_for("web.run", project=project.name, run=run), 303)


@page(f"{PATH}/recover", "viewer")
def recovery(project: Project, run: str) -> str:
    return _page(project, run_query.get(db.session, project, run), recover(), None, [])


@page(f"{PATH}/rerun", "viewer")
def repetition(project: Project, run: str) -> str:
    found, steps = run_query.get(db.session, project, run), request.args.getlist("from")
    form = LaunchForm.fresh(found.version.interface, found.inputs, store())
    return _page(project, found, rerun(steps=steps), form, steps)


@page(f"{PATH}/recover", "editor", method="POST")
def launch_recovery(project: Project, run: str) -> Response:
    return _launched(project, run_query.get(db.session, project, run), recover(), request.form.get("idempotency_key"))


@page(f"{PATH}/rerun", "editor", method="POST", raw=True)
def launch_repetition(project: Project, run: str) -> Response | tuple[str, int]:
    """Launches it, or shows again what it would do with what was chosen."""
    found, steps = run_query.get(db.session, project, run), request.form.getlist("from")
    form = sent_form(project, found.version.interface)
    asked = rerun(*_changes(found, form), steps, form.options if any(form.options.values()) else None)
    try:
        if request.form.get("do") == "launch" and not form.is_wrong:
            return _launched(project, found, asked, form.idempotency_key)
        return _page(project, found, asked, form, steps), 200
    except InputError as error:
        form.blame(error.problems)
    return _page(project, found, None, form, steps), 422


def _launched(project: Project, run: Run, asked: Again, key: str | None) -> Response:
    made = run_again(db.session, current_config(), store(), principal(), project, run, asked, key)
    return redirect(url_for("web.run", project=project.name, run=made.id), 303)


def _changes(run: Run, form: LaunchForm) -> tuple[dict[str, Any], dict[str, Any]]:
    """The inputs that differ from what the run had, as far as a form shows it."""
    before = {each.name: each for each in LaunchForm.fresh(run.version.interface, run.inputs, store()).fields}
    changed = {each.name for each in form.fields if each.value != before[each.name].value}
    inputs = {name: value for name, value in form.inputs.items() if name in changed}
    refs = {name: ref for name, ref in form.input_refs.items() if ref != run.inputs.get(name)}
    return inputs, refs


def _page(project: Project, run: Run, asked: Again | None, form: LaunchForm | None, steps: list[str]) -> str:
    preview = preview_again(db.session, store(), principal(), project, run, asked) if asked else None
    return show(
        "again.html",
        "runs",
        run={"run_id": run.id, "workflow": run.workflow.name},
        kind="rerun" if form else "recover",
        preview=preview,
        form=form,
        chosen=steps,
        key=form.idempotency_key if form else LaunchForm([]).idempotency_key,
    )
