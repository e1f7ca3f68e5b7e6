"""One step: what went in and out, how it failed, what it printed."""

from typing import Any

from flask import url_for

from app.db import db
from app.models import STEP_TERMINAL, Project
from app.services import artifact_query, run_query, step_query, workflow_query
from app.stores import store
from app.web.format import size
from app.web.pages import page, show

LOG_BYTES = 256_000


@page("/projects/<project>/runs/<run>/steps/<path:node>", "viewer")
def step(project: Project, run: str, node: str) -> str:
    found = run_query.get(db.session, project, run)
    plan = workflow_query.load_plan(store(), found.version.plan_blob)
    row = step_query.get(db.session, found, plan, node)
    step_query.show_evidence(db.session, [row])
    place: dict[str, Any] = {"project": project.name, "run": run, "node": row.node}
    text = step_query.read_log(row, store(), offset=max(0, row.log_bytes - LOG_BYTES)).decode(errors="replace")
    return show(
        "step.html",
        "runs",
        run={"run_id": found.id, "workflow": found.workflow.name},
        step=step_query.documents(db.session, found, plan, [row], store())[0],
        task=plan.task(row.position),
        settled=row.state in STEP_TERMINAL,
        artifacts=artifact_query.of_step(db.session, found.id, row.node),
        log_url=url_for("steps.log", **place),
        report_url=url_for("steps.report", **place),
        has_log=bool(text),
        log_text=text,
        log_note=_log_note(row.log_bytes, row.state in STEP_TERMINAL),
    )


def _log_note(log_bytes: int, settled: bool) -> str:
    if not settled:
        return "as it comes"
    if not log_bytes:
        return "nothing was printed"
    return size(log_bytes) if log_bytes <= LOG_BYTES else f"the last {size(LOG_BYTES)} of {size(log_bytes)}"
