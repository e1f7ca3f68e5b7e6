"""The steps of a run: list, look, log, report."""

from collections.abc import Sequence

from flask import Response, request
from marshmallow import Schema, fields, validate

from app.api.log_stream import Attempt, follow_log
from app.api.noun import Noun
from app.api.schemas import Json, PageArguments, Ref, answer_with, moment, page_answer, page_schema
from app.compiler.plan import Plan
from app.db import db
from app.events import hub
from app.live_metrics import with_live_metrics
from app.models import STEP_STATES, Project, Run, Step
from app.services import run_query, step_query, step_wait, workflow_query
from app.stores import store
from celesta.errors import NotFoundError

routes = Noun("steps", "Steps of runs")
# What a user's report may do: show itself. No script, no form, no request, no origin that the dashboard would trust.
REPORT_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; "
    "frame-ancestors 'self'"
)


class Input(Ref):
    artifact = fields.Integer(allow_none=True, metadata={"description": "the artifact that holds this value"})


class Output(Ref):
    plain = fields.Raw()


class Metric(Schema):
    name = fields.String()
    value = fields.Float()
    step = fields.Integer(allow_none=True)
    at_ms = fields.Integer()


class CacheUse(Schema):
    key = fields.String(allow_none=True)
    hit = fields.Boolean()
    source = fields.Dict(allow_none=True, metadata={"description": "run, path, node and token that answered"})


class AttemptDocument(Schema):
    token = fields.String()
    state = fields.String()
    reason = fields.String(allow_none=True)
    worker = fields.String(allow_none=True)
    error = fields.Dict(allow_none=True)
    started_at = moment()
    finished_at = moment()
    duration_seconds = fields.Float(allow_none=True)


class StepDocument(Schema):
    node = fields.String()
    path = fields.String()
    task = fields.String()
    state = fields.String(validate=validate.OneOf(STEP_STATES))
    attempt = fields.Integer()
    started_at = moment()
    finished_at = moment()
    duration_seconds = fields.Float(allow_none=True)
    inputs = fields.Dict(keys=fields.String(), values=fields.Nested(Input))
    outputs = fields.Dict(keys=fields.String(), values=fields.Nested(Output))
    error = fields.Dict(allow_none=True)
    metrics = fields.List(fields.Nested(Metric))
    cache = fields.Nested(CacheUse)
    log_bytes = fields.Integer()
    report = fields.Boolean()
    environment = fields.String(allow_none=True, metadata={"description": "digest of the packages that it ran with"})
    attempts = fields.List(fields.Nested(AttemptDocument))
    width = fields.Integer(allow_none=True)
    plan = fields.String(allow_none=True, metadata={"description": "digest of the plan that a dynamic step opened"})
    waiting_for = fields.Dict(allow_none=True, metadata={"description": "why it has not begun, or stands still"})
    parked = fields.Dict(
        allow_none=True, metadata={"description": "waits_for, until, message, role and type, while it waits"}
    )
    answer = fields.Dict(allow_none=True, metadata={"description": "what was answered, by whom, when, with which note"})


class StepsArguments(PageArguments):
    state = fields.String(load_default="", validate=validate.OneOf(("", *STEP_STATES)))
    path = fields.String(load_default="", metadata={"description": "any part of a path"})


class LogArguments(Schema):
    token = fields.String(load_default="", validate=validate.Regexp(r"([0-9]+\.[0-9]+)?\Z"))
    offset = fields.Integer(load_default=0, validate=validate.Range(0, 2**63 - 1))


@routes.route(
    "GET", "/projects/<project>/runs/<run>/steps", "viewer", query=StepsArguments, answer=page_schema(StepDocument)
)
def list_steps(given: Json, project: Project, run: str) -> Response:
    """The steps in the order of the plan, the items of a map after it"""
    found, plan = _run(project, run)
    page = step_query.page(db.session, found, plan, **given)
    documents = step_query.documents(db.session, found, plan, page.items)
    return page_answer(with_reasons(project, found, plan, page.items, documents), page.next_cursor)


@routes.route("GET", "/projects/<project>/runs/<run>/steps/<path:node>", "viewer", answer=StepDocument)
def show(project: Project, run: str, node: str) -> Response:
    """One step, by node or by path"""
    found, plan = _run(project, run)
    step = step_query.get(db.session, found, plan, node, store())
    documents = step_query.documents(db.session, found, plan, [step], store())
    return answer_with(with_live_metrics(run, with_reasons(project, found, plan, [step], documents)[0]))


@routes.route(
    "GET", "/projects/<project>/runs/<run>/steps/<path:node>/log", "viewer", query=LogArguments, answer="text/plain"
)
def log(given: Json, project: Project, run: str, node: str) -> Response:
    """The log of an attempt, from a byte offset, at most 1 MB a call; as an event stream it follows the attempt"""
    found, plan = _run(project, run)
    step = step_query.get(db.session, found, plan, node, store())
    if request.accept_mimetypes.best_match(("text/plain", "text/event-stream")) == "text/event-stream":
        return follow_log(run, Attempt.of(store(), step))
    body = step_query.read_log(step, store(), given["token"], given["offset"])
    response = Response(body, mimetype="text/plain; charset=utf-8")
    response.headers["X-Log-Offset"] = str(given["offset"] + len(body))
    return response


@routes.route("GET", "/projects/<project>/runs/<run>/steps/<path:node>/report", "viewer", answer="text/html")
def report(project: Project, run: str, node: str) -> Response:
    """The HTML report of a step, in a sandbox"""
    found, plan = _run(project, run)
    step = step_query.get(db.session, found, plan, node, store())
    step_query.show_evidence(db.session, [step])
    prefix = step_query.attempt_prefix(step)
    body = store().get(f"{prefix}report.html") if prefix and step.report else None
    if body is None:
        raise NotFoundError(f"the step {step.path} of run {run} made no report")
    response = Response(body, mimetype="text/html")
    response.headers["Content-Security-Policy"] = REPORT_POLICY
    return response


def with_reasons(project: Project, run: Run, plan: Plan, steps: Sequence[Step], documents: list[Json]) -> list[Json]:
    """The documents of these steps, with why each waits."""
    reasons = step_wait.reasons(db.session, hub().redis, project, run, plan, steps, store())
    return [document | {"waiting_for": reasons.get(document["node"])} for document in documents]


def _run(project: Project, run_id: str) -> tuple[Run, Plan]:
    run = run_query.get(db.session, project, run_id)
    return run, workflow_query.load_plan(store(), run.version.plan_blob)
