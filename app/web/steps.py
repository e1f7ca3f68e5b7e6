"""One step: what went in and out, how it failed, what it printed; and the answer to what it asks."""

from typing import Any

from flask import redirect, request, url_for
from werkzeug.wrappers import Response

from app.db import current_config, db
from app.events import hub
from app.guard import principal
from app.live_metrics import with_live_metrics
from app.models import STEP_TERMINAL, Project, Run, Step
from app.services import artifact_query, cache_explain, run_query, step_query, step_wait, workflow_query
from app.services.question_answer import answer_question
from app.stores import store
from app.web.format import size
from app.web.forms import LaunchForm
from app.web.pages import page, sent_form, show
from app.web.runs import DRAWN_STEPS
from celesta.errors import InputError

LOG_BYTES = 256_000


@page("/projects/<project>/runs/<run>/steps/<path:node>", "viewer")
def step(project: Project, run: str, node: str) -> str:
    return _page(project, run, node)


@page("/projects/<project>/runs/<run>/answers/<path:node>", "editor", method="POST")
def answer(project: Project, run: str, node: str) -> Response | tuple[str, int]:
    found = run_query.get(db.session, project, run)
    plan = workflow_query.load_plan(store(), found.version.plan_blob)
    row = step_query.get(db.session, found, plan, node, store())
    form = sent_form(project, _wanted(row))
    try:
        if not form.is_wrong:
            value, note = form.inputs.get("value"), request.form.get("note", "")[:2000]
            asked = (principal(), project, found, plan)
            answer_question(db.session, current_config(), store(), *asked, step=row.node, value=value, note=note)
            return redirect(url_for("web.step", project=project.name, run=run, node=row.node), 303)
    except InputError as error:
        form.blame(error.problems)
    return _page(project, run, node, form), 422


def _opened(project: Project, run: Run, row: Step) -> dict[str, Any]:
    """The drawing of the plan that a dynamic step opened."""
    plan = workflow_query.load_plan(store(), row.plan) if row.plan else None
    if plan is None or row.plan is None or len(plan) > DRAWN_STEPS:
        return {"graph": None}
    return {
        "graph": workflow_query.graph(store(), row.plan),
        "states": step_query.states_inside(db.session, run, row.node),
        "live": True,
        "link": lambda node: url_for("web.step", project=project.name, run=run.id, node=f"{row.node}/{node['index']}"),
    }


def _page(project: Project, run: str, node: str, form: LaunchForm | None = None) -> str:
    found = run_query.get(db.session, project, run)
    plan = workflow_query.load_plan(store(), found.version.plan_blob)
    row = step_query.get(db.session, found, plan, node, store())
    step_query.show_evidence(db.session, [row])
    place: dict[str, Any] = {"project": project.name, "run": run, "node": row.node}
    document = with_live_metrics(run, step_query.documents(db.session, found, plan, [row], store())[0])
    reasons = step_wait.reasons(db.session, hub().redis, project, found, plan, [row], store())
    text = step_query.read_log(row, store(), offset=max(0, row.log_bytes - LOG_BYTES)).decode(errors="replace")
    return show(
        "step.html",
        "runs",
        run={"run_id": found.id, "workflow": found.workflow_name, "recorded": found.recorded_at is not None},
        step=document | {"waiting_for": reasons.get(row.node)},
        cache=cache_explain.explain(db.session, store(), project, found, plan, row),
        task=step_query.task_of(db.session, found, plan, row, store()),
        **_opened(project, found, row),
        settled=row.state in STEP_TERMINAL,
        artifacts=artifact_query.of_step(db.session, found.id, row.node),
        log_url=url_for("steps.log", **place),
        report_url=url_for("steps.report", **place),
        has_log=bool(text),
        log_text=text,
        log_note=_log_note(row.log_bytes, row.state in STEP_TERMINAL),
        **({} if document["answer"] else _question(project, row, form)),
    )


def _question(project: Project, row: Step, form: LaunchForm | None) -> dict[str, Any]:
    """The form of a step that asks now, for those who may answer."""
    asked = step_query.parked_document(row)
    if asked is None or asked["waits_for"] == "sleep":
        return {"form": None, "may_answer": False}
    may = principal().may(asked["role"], project.id)
    return {"form": form or LaunchForm.fresh(_wanted(row), {}, store()), "may_answer": may}


def _wanted(row: Step) -> dict[str, Any]:
    """What a step asks for, as the interface of a form of one field."""
    wanted = (row.parked or {}).get("type") or {"kind": "any"}
    return {"inputs": [{"name": "value", "type": wanted, "required": True}]}


def _log_note(log_bytes: int, settled: bool) -> str:
    if not settled:
        return "as it comes"
    if not log_bytes:
        return "nothing was printed"
    return size(log_bytes) if log_bytes <= LOG_BYTES else f"the last {size(LOG_BYTES)} of {size(log_bytes)}"
