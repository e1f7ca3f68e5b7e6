"""Versions as they are registered, workflows, and the graphs of their versions."""

from flask import Response
from marshmallow import Schema, fields

from app.api.noun import Noun
from app.api.schemas import Json, PageArguments, answer_with, moment, page_answer, page_schema
from app.db import db
from app.guard import principal
from app.models import Project
from app.services import workflow_query
from app.services.version_find import find_version
from app.services.version_register import register_version
from app.stores import store

routes = Noun("workflows", "Workflows and their versions")


class NewVersion(Schema):
    spec = fields.Dict(required=True, metadata={"description": "the workflow as data; see docs/contracts.md"})
    label = fields.String(load_default=None, allow_none=True)


class Registered(Schema):
    version = fields.String()
    workflow = fields.String()
    created = fields.Boolean(metadata={"description": "false: the project had this version already"})
    steps = fields.Integer()


class LastRun(Schema):
    run_id = fields.String()
    status = fields.String()
    created_at = moment()


class WorkflowDocument(Schema):
    name = fields.String()
    kind = fields.String()
    active_version = fields.String(allow_none=True)
    versions = fields.Integer()
    steps = fields.Integer()
    created_at = moment()
    last_run = fields.Nested(LastRun, allow_none=True)


class VersionDocument(Schema):
    version = fields.String()
    label = fields.String(allow_none=True)
    workflow = fields.String()
    active = fields.Boolean()
    steps = fields.Integer()
    bundle = fields.String(allow_none=True)
    git = fields.Dict(allow_none=True)
    created_by = fields.String()
    created_at = moment()


VersionPage = page_schema(VersionDocument)


class WholeVersion(VersionDocument):
    doc = fields.String()
    interface = fields.Dict()
    tasks = fields.List(fields.Dict())


class WholeWorkflow(WholeVersion):
    name = fields.String()
    kind = fields.String()


class Graph(Schema):
    nodes = fields.List(fields.Dict())
    edges = fields.List(fields.List(fields.Integer()))
    layout = fields.Dict()


@routes.route("POST", "/projects/<project>/versions", "editor", body=NewVersion, answer=Registered, status=201)
def register(given: Json, project: Project) -> Response:
    """Register a version; 409 `missing_blobs` names the bytes that have to be put first"""
    made = register_version(db.session, store(), principal(), project, given["spec"], label=given["label"])
    answer = {
        "version": made.version.digest,
        "workflow": made.workflow.name,
        "created": made.created,
        "steps": made.version.step_count,
    }
    return answer_with(answer, 201 if made.created else 200)


@routes.route(
    "GET", "/projects/<project>/workflows", "viewer", query=PageArguments, answer=page_schema(WorkflowDocument)
)
def list_workflows(given: Json, project: Project) -> Response:
    """The workflows of a project by name"""
    found = workflow_query.page(db.session, project, **given)
    return page_answer([workflow_query.document(listed) for listed in found.items], found.next_cursor)


@routes.route("GET", "/projects/<project>/workflows/<name>", "viewer", answer=WholeWorkflow)
def show_workflow(project: Project, name: str) -> Response:
    """A workflow with its active version"""
    workflow = workflow_query.get(db.session, project, name)
    active = find_version(db.session, project, name)
    version = workflow_query.version_document(workflow, active, store())
    return answer_with({"name": workflow.name, "kind": workflow.kind} | version)


@routes.route("GET", "/projects/<project>/workflows/<name>/versions", "viewer", query=PageArguments, answer=VersionPage)
def list_versions(given: Json, project: Project, name: str) -> Response:
    """The newest versions of a workflow first"""
    workflow = workflow_query.get(db.session, project, name)
    found = workflow_query.versions(db.session, workflow, **given)
    return page_answer([workflow_query.version_document(workflow, item) for item in found.items], found.next_cursor)


@routes.route("GET", "/projects/<project>/workflows/<name>/versions/<version>", "viewer", answer=WholeVersion)
def show_version(project: Project, name: str, version: str) -> Response:
    """A version by digest, by a unique beginning of it, or by label"""
    workflow = workflow_query.get(db.session, project, name)
    found = find_version(db.session, project, name, version)
    return answer_with(workflow_query.version_document(workflow, found, store()))


@routes.route("GET", "/projects/<project>/workflows/<name>/versions/<version>/graph", "viewer", answer=Graph)
def graph(project: Project, name: str, version: str) -> Response:
    """Steps, edges, and where to draw them"""
    found = find_version(db.session, project, name, version)
    response = answer_with(workflow_query.graph(store(), found.plan_blob))
    response.set_etag(found.plan_blob)
    response.headers["Cache-Control"] = "private, max-age=300"  # a version never changes; the drawing may, with us
    return response
