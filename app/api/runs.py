"""Runs: launch, list, look, wait, follow, cancel, pause, resume."""

from time import monotonic
from typing import Any

import redis
from flask import Response
from marshmallow import Schema, ValidationError, fields, validate

from app.api import streams
from app.api.noun import Noun
from app.api.schemas import Json, PageArguments, answer_with, moment, page_answer, page_schema
from app.api.workflows import Graph
from app.db import current_config, db
from app.events import Busy, Overrun, hub
from app.guard import principal
from app.links import run_link
from app.models import ORIGIN_KINDS, RUN_STATUSES, Project, Run
from app.services import environment_diff, run_query, step_query, workflow_query
from app.services.question_answer import answer_question
from app.services.run_cancel import cancel_run
from app.services.run_failure import with_inputs
from app.services.run_launch import launch_run
from app.services.run_pause import pause_run, resume_run
from app.stores import store

routes = Noun("runs", "Executions of workflows")
MAX_WAIT_SECONDS = 30.0
RECORDED = frozenset({streams.LAST_KIND})


class Counts(Schema):
    total = fields.Integer()
    succeeded = fields.Integer()
    cached = fields.Integer()
    failed = fields.Integer()
    skipped = fields.Integer()
    cancelled = fields.Integer()
    running = fields.Integer(metadata={"description": "only while the run has not ended"})


class OriginDocument(Schema):
    run_id = fields.String()
    kind = fields.String(validate=validate.OneOf(ORIGIN_KINDS))


class RunDocument(Schema):
    run_id = fields.String()
    project = fields.String()
    workflow = fields.String()
    version = fields.String()
    status = fields.String(validate=validate.OneOf(RUN_STATUSES))
    inputs = fields.Dict(keys=fields.String(), metadata={"description": "plain values by name"})
    outputs = fields.Dict(keys=fields.String(), metadata={"description": "plain values by name"})
    steps = fields.Nested(Counts)
    error = fields.Dict(allow_none=True)
    created_by = fields.String()
    created_at = moment()
    started_at = moment()
    paused_at = moment()
    finished_at = moment()
    recorded_at = moment()
    duration_seconds = fields.Float(allow_none=True)
    url = fields.String()
    options = fields.Dict()
    origin = fields.Nested(OriginDocument, allow_none=True)


class RunsArguments(PageArguments):
    workflow = fields.String(load_default="")
    status = fields.String(load_default="", validate=validate.OneOf(("", *RUN_STATUSES)))


class Steps(fields.Field[bool | list[str]]):
    """All steps or none, or those of these paths."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> bool | list[str]:
        if isinstance(value, bool) or (isinstance(value, list) and all(isinstance(path, str) for path in value)):
            return value
        raise ValidationError("wants true or false, or a list of steps")


SOME = {"oneOf": [{"type": "boolean"}, {"type": "array", "items": {"type": "string"}}]}


class RunOptions(Schema):
    no_cache = Steps(metadata=SOME | {"description": "compute, and keep nothing"})
    refresh = Steps(metadata=SOME | {"description": "compute, and keep the new results"})
    priority = fields.Integer(strict=True, metadata={"description": "-10 to 10; higher goes first in its project"})
    max_parallel = fields.Integer(strict=True, metadata={"description": "how many steps may be at work at once"})


class NewRun(Schema):
    workflow = fields.String(required=True)
    version = fields.String(load_default=None, allow_none=True)
    inputs = fields.Dict(keys=fields.String(), load_default=dict, metadata={"description": "plain values by name"})
    input_refs = fields.Dict(keys=fields.String(), load_default=dict, metadata={"description": "references by name"})
    options = fields.Nested(RunOptions, load_default=dict)
    idempotency_key = fields.String(load_default=None, allow_none=True, validate=validate.Length(1, 200))


class NewAnswer(Schema):
    step = fields.String(required=True, metadata={"description": "path or node of the step that asks"})
    value = fields.Raw(required=True, allow_none=True, metadata={"description": "a plain value of the type it wants"})
    note = fields.String(load_default="", validate=validate.Length(0, 2000))


class AnswerDocument(Schema):
    step = fields.String()
    value = fields.Raw(allow_none=True)
    timed_out = fields.Boolean()
    note = fields.String()
    answered_by = fields.String()
    answered_at = moment()


class GraphArguments(Schema):
    step = fields.String(load_default="", metadata={"description": "a dynamic step: the graph of what it opened"})


class WaitArguments(Schema):
    wait_seconds = fields.Float(load_default=0.0, validate=validate.Range(0, MAX_WAIT_SECONDS))


class FollowArguments(Schema):
    brief = fields.Boolean(load_default=False, metadata={"description": "leave out outcomes, inputs and outputs"})
    after = fields.String(load_default="", metadata={"description": "as the header Last-Event-ID"})


class Environment(Schema):
    digest = fields.String(metadata={"description": "of the lock; steps name it"})
    steps = fields.Integer()
    python = fields.String(allow_none=True, metadata={"description": "null: the lock is not in the store any more"})
    platform = fields.String(allow_none=True)
    packages = fields.Dict(keys=fields.String(), values=fields.String())


class Environments(Schema):
    items = fields.List(fields.Nested(Environment))


@routes.route("POST", "/projects/<project>/runs", "editor", body=NewRun, answer=RunDocument, status=201)
def launch(given: Json, project: Project) -> Response:
    """Launch a run; the same idempotency key gives the same run again"""
    run = launch_run(db.session, current_config(), store(), principal(), project, **given)
    return answer_with(document(project, run_query.get(db.session, project, run.id)), 201)


@routes.route("GET", "/projects/<project>/runs", "viewer", query=RunsArguments, answer=page_schema(RunDocument))
def list_runs(given: Json, project: Project) -> Response:
    """The newest runs first; large values are told by digest"""
    found = run_query.page(db.session, project, **given)
    return page_answer(run_query.documents(db.session, project, found.items, run_link(project)), found.next_cursor)


@routes.route("GET", "/projects/<project>/runs/<run>", "viewer", query=WaitArguments, answer=RunDocument)
def show(given: Json, project: Project, run: str) -> Response:
    """One run; with `wait_seconds` the answer comes when it is recorded, or when the time is over"""
    found = run_query.get(db.session, project, run)
    if given["wait_seconds"] and found.recorded_at is None:
        found = _wait(project, found, given["wait_seconds"])
    return answer_with(document(project, found))


@routes.route(
    "GET", "/projects/<project>/runs/<run>/events", "viewer", query=FollowArguments, answer="text/event-stream"
)
def events(given: Json, project: Project, run: str) -> Response:
    """Server-sent events: what happened so far, then what happens, until the run is recorded"""
    return streams.follow_run(run_query.get(db.session, project, run), project.name, brief=given["brief"])


@routes.route("GET", "/projects/<project>/events", "viewer", answer="text/event-stream")
def project_events(project: Project) -> Response:
    """Server-sent events: starts and ends of the project's runs"""
    return streams.follow_project(project.name)


@routes.route("GET", "/projects/<project>/runs/<run>/environment", "viewer", answer=Environments)
def environment(project: Project, run: str) -> Response:
    """Python and the packages that its steps ran with, each environment once, that of most steps first"""
    found = run_query.get(db.session, project, run)
    return answer_with({"items": environment_diff.of_run(db.session, found, store())})


@routes.route("GET", "/projects/<project>/runs/<run>/graph", "viewer", query=GraphArguments, answer=Graph)
def graph(given: Json, project: Project, run: str) -> Response:
    """The steps of the version that it runs, or of what a dynamic step opened, their edges, and where to draw them"""
    found = run_query.get(db.session, project, run)
    blob = step_query.plan_of(db.session, found, given["step"]) if given["step"] else found.version.plan_blob
    response = answer_with(workflow_query.graph(store(), blob))
    response.set_etag(blob)
    response.headers["Cache-Control"] = "private, max-age=300"
    return response


@routes.route("POST", "/projects/<project>/runs/<run>/cancel", "editor", answer=RunDocument, status=202)
def cancel(project: Project, run: str) -> Response:
    """Cancel a run; steps that have not ended are stopped. Harmless when it is over"""
    found = run_query.get(db.session, project, run)
    cancel_run(db.session, current_config(), principal(), project, found)
    return answer_with(document(project, run_query.get(db.session, project, run)), 202)


@routes.route("POST", "/projects/<project>/runs/<run>/pause", "editor", answer=RunDocument, status=202)
def pause(project: Project, run: str) -> Response:
    """Pause a run: no further step starts, those that run go on to their end"""
    found = run_query.get(db.session, project, run)
    pause_run(db.session, current_config(), principal(), project, found)
    return answer_with(document(project, run_query.get(db.session, project, run)), 202)


@routes.route("POST", "/projects/<project>/runs/<run>/resume", "editor", answer=RunDocument, status=202)
def resume(project: Project, run: str) -> Response:
    """Let a paused run go on"""
    found = run_query.get(db.session, project, run)
    resume_run(db.session, current_config(), principal(), project, found)
    return answer_with(document(project, run_query.get(db.session, project, run)), 202)


@routes.route(
    "POST", "/projects/<project>/runs/<run>/answers", "editor", body=NewAnswer, answer=AnswerDocument, status=201
)
def answer(given: Json, project: Project, run: str) -> Response:
    """Answer a step that asks, once; its author says which role may"""
    found = run_query.get(db.session, project, run)
    plan = workflow_query.load_plan(store(), found.version.plan_blob)
    made = answer_question(db.session, current_config(), store(), principal(), project, found, plan, **given)
    return answer_with(step_query.answer_document(made, store()), 201)


def document(project: Project, run: Run) -> Json:
    found = run_query.documents(db.session, project, [run], run_link(project), store())[0]
    return found | {"error": with_inputs(db.session, run, store())}


def _wait(project: Project, run: Run, seconds: float) -> Run:
    """Until the run is recorded. Without a free slot or without Redis it answers at once, and the caller asks again."""
    deadline = monotonic() + seconds
    try:
        leave = hub().take_slot()
    except Busy:
        return run
    try:
        with hub().subscribe(run=run.id, kinds=RECORDED) as subscription:
            db.session.rollback()  # what was read before belongs to an older snapshot, and would hide the end
            recorded = run_query.is_recorded(db.session, run.id)
            db.session.rollback()  # gives the connection back: waiting needs none
            while not recorded and (left := deadline - monotonic()) > 0:
                recorded = bool(subscription.get(left))
    except (redis.RedisError, Overrun):
        return run
    finally:
        leave()
    return run_query.get(db.session, project, run.id)
