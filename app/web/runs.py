"""The list of runs, one run, and cancelling it."""

from typing import Any

from flask import redirect, request, url_for
from werkzeug.wrappers import Response

from app.db import current_config, db
from app.events import hub
from app.guard import principal
from app.links import run_link
from app.models import RUN_STATUSES, RUN_TERMINAL, STEP_STATES, Project, Run
from app.services import artifact_query, reproduction_query, run_again, run_query, step_query, step_wait, workflow_query
from app.services.run_cancel import cancel_run
from app.services.run_failure import with_inputs
from app.services.step_inputs import told
from app.stores import store
from app.web.pages import cursor, neighbours, page, show
from celesta.errors import InputError, Problem

RUNS_SHOWN = 25
STEPS_SHOWN = 100
LETTERS = dict(zip(STEP_STATES, "wrbpsfckux", strict=True))
DRAWN_STEPS = 300  # larger graphs are drawn by a script on a canvas


@page("/projects/<project>/runs", "viewer")
def runs(project: Project) -> str:
    chosen = {name: request.args.get(name, "") for name in ("workflow", "status")}
    if chosen["status"] not in ("", *RUN_STATUSES):
        raise InputError([Problem("status", f"{chosen['status']!r} is no status of a run")])
    found = run_query.page(db.session, project, **chosen, cursor=cursor(), limit=RUNS_SHOWN)
    return show(
        "runs.html",
        "runs",
        runs=run_query.documents(db.session, project, found.items, run_link(project)),
        chosen=chosen,
        statuses=RUN_STATUSES,
        workflow_names=workflow_query.names(db.session, project),
        **neighbours(found),
    )


@page("/projects/<project>/runs/<run>", "viewer")
def run(project: Project, run: str) -> str:
    found = run_query.get(db.session, project, run)
    ended = found.status in RUN_TERMINAL
    plan = workflow_query.load_plan(store(), found.version.plan_blob)
    drawn = len(plan) <= DRAWN_STEPS
    states = step_query.states(db.session, found)
    failure = with_inputs(db.session, found, store())
    return show(
        "run.html",
        "runs",
        run=run_query.documents(db.session, project, [found], run_link(project), store())[0] | {"error": failure},
        ended=ended,
        cancelling=found.cancel_requested_at is not None,
        graph=workflow_query.graph(store(), found.version.plan_blob) if drawn else None,
        graph_size=len(plan),
        states=states,
        state_letters=" ".join(f"{letter}={state}" for state, letter in LETTERS.items()),
        letters="" if drawn else _letters(states, len(plan)),
        live=True,
        link=lambda node: url_for("web.step", project=project.name, run=run, node=node["index"]),
        outputs=_outputs(found),
        reproductions=reproduction_query.of_origin(db.session, found, store()),
        questions=[] if ended else step_query.questions(db.session, found),
        **_steps(project, found, plan),
    )


@page("/projects/<project>/runs/<run>/cancel", "editor", method="POST")
def cancel(project: Project, run: str) -> Response:
    cancel_run(db.session, current_config(), principal(), project, run_query.get(db.session, project, run))
    return redirect(url_for("web.run", project=project.name, run=run), 303)


@page("/projects/<project>/runs/<run>/reproduce", "editor", method="POST")
def reproduce(project: Project, run: str) -> Response:
    origin = run_query.get(db.session, project, run)
    made = run_again.run_again(
        db.session, current_config(), store(), principal(), project, origin, run_again.reproduce()
    )
    return redirect(url_for("web.run", project=project.name, run=made.id), 303)


def _letters(states: dict[str, dict[str, Any]], count: int) -> str:
    """The states of a large graph, a letter for each step: as JSON they would be most of the page."""
    known = (states.get(str(index), {}).get("state", "waiting") for index in range(count))
    return "".join(LETTERS.get(state, "w") for state in known)


def _steps(project: Project, run: Run, plan: Any) -> dict[str, Any]:
    """One page of the table of steps, with what chose it."""
    chosen = {"state": request.args.get("state", ""), "path": request.args.get("path", "")}
    if chosen["state"] not in STEP_STATES:
        chosen["state"] = ""
    parent = request.args.get("map", "")
    found = step_query.page(db.session, run, plan, **chosen, parent=parent, cursor=cursor(), limit=STEPS_SHOWN)
    reasons = step_wait.reasons(db.session, hub().redis, project, run, plan, found.items, store())
    return {
        "steps": [step_query.row(step) | {"waiting_for": reasons.get(step.node)} for step in found.items],
        "chosen": chosen,
        "step_states": STEP_STATES,
        **neighbours(found),
    }


def _outputs(run: Run) -> list[dict[str, Any]]:
    refs = run.outputs or {}
    artifacts = artifact_query.of_run(db.session, run.id, {ref["digest"] for ref in refs.values()})
    return [
        {"name": name, "preview": told(ref)["preview"], "artifact": artifacts.get(ref["digest"])}
        for name, ref in refs.items()
    ]
