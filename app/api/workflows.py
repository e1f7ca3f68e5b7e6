"""Versions as they are registered, workflows, and the graphs of their versions."""

from flask import Response
from marshmallow import Schema, fields, validate

from app.api.noun import Noun
from app.api.schemas import Json, PageArguments, answer_with, moment, page_answer, page_schema
from app.db import current_config, db
from app.guard import principal
from app.models import Project
from app.models.workflow import KINDS
from app.services import model_query, version_diff, workflow_query
from app.services.version_activate import activate_version
from app.services.version_find import find_version
from app.services.version_register import register_version
from app.services.version_rollback import roll_back
from app.stores import store

routes = Noun("workflows", "Workflows and their versions")


class NewVersion(Schema):
    spec = fields.Dict(required=True, metadata={"description": "the workflow as data; see docs/contracts.md"})
    label = fields.String(load_default=None, allow_none=True)
    activate = fields.Boolean(
        load_default=True,
        metadata={"description": "false: not where somebody chose another by `activate` or `rollback`"},
    )


class WorkflowArguments(PageArguments):
    kind = fields.String(load_default="", validate=validate.OneOf(("", *KINDS)))
    search = fields.String(load_default="", metadata={"description": "a part of the name"})


class Chosen(Schema):
    version = fields.String(required=True, metadata={"description": "a digest, a beginning of it, or a label"})


class ModelAlias(Schema):
    model = fields.String(required=True)
    alias = fields.String(required=True)


class Target(Schema):
    to = fields.String(load_default=None, allow_none=True, metadata={"description": "none: the one active before"})
    aliases = fields.List(
        fields.Nested(ModelAlias), load_default=list, metadata={"description": "aliases of models to roll back with it"}
    )


class RolledBack(Schema):
    workflow = fields.String()
    left = fields.String()
    version = fields.String()
    schedules = fields.List(fields.String(), metadata={"description": "all that launch this version from now on"})
    aliases = fields.List(fields.Dict(), metadata={"description": "the moves of the aliases, as of their models"})


class Against(Schema):
    to = fields.String(load_default=None, allow_none=True, metadata={"description": "none: the active version"})


class VersionDiff(Schema):
    from_ = fields.String(data_key="from")
    to = fields.String()
    identical = fields.Boolean()
    code = fields.List(fields.Dict(), metadata={"description": "`file`, `change`, and a unified `diff`"})
    interface = fields.List(fields.Dict())
    tasks = fields.List(fields.Dict())
    steps = fields.List(fields.Dict())
    outputs = fields.List(fields.Dict())
    left_out = fields.Integer(metadata={"description": "tasks and steps that differ as well, and are not told of"})
    environment = fields.List(fields.Dict())


class Registered(Schema):
    version = fields.String()
    workflow = fields.String()
    created = fields.Boolean(metadata={"description": "false: the project had this version already"})
    active = fields.Boolean(metadata={"description": "false: somebody chose another version, which stays"})
    steps = fields.Integer()
    label_left = fields.String(
        allow_none=True, metadata={"description": "the version that the label named until now, which has none any more"}
    )


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
    environment = fields.Dict(allow_none=True, metadata={"description": "Python, platform, lock digest, images"})
    created_by = fields.String()
    created_at = moment()


VersionPage = page_schema(VersionDocument)


class WholeVersion(VersionDocument):
    doc = fields.String()
    packages = fields.Dict(metadata={"description": "the version of each package, where it was registered from"})
    interface = fields.Dict()
    tasks = fields.List(fields.Dict())


class WholeWorkflow(WholeVersion):
    name = fields.String()
    kind = fields.String()


class Graph(Schema):
    nodes = fields.List(fields.Dict())
    edges = fields.List(fields.List(fields.Integer()))
    groups = fields.List(fields.Dict(), metadata={"description": "path and steps of each workflow inside"})
    layout = fields.Dict()


@routes.route("POST", "/projects/<project>/versions", "editor", body=NewVersion, answer=Registered, status=201)
def register(given: Json, project: Project) -> Response:
    """Register a version; 409 `missing_blobs` names the bytes that have to be put first"""
    made = register_version(db.session, store(), principal(), project, **given, config=current_config())
    answer = {
        "version": made.version.digest,
        "workflow": made.workflow.name,
        "created": made.created,
        "active": made.active,
        "steps": made.version.step_count,
        "label_left": made.label_left,
    }
    return answer_with(answer, 201 if made.created else 200)


@routes.route(
    "GET", "/projects/<project>/workflows", "viewer", query=WorkflowArguments, answer=page_schema(WorkflowDocument)
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


@routes.route(
    "GET", "/projects/<project>/workflows/<name>/versions/<version>/diff", "viewer", query=Against, answer=VersionDiff
)
def diff(given: Json, project: Project, name: str, version: str) -> Response:
    """What changed from this version to another: code, interface, steps, options, packages"""
    left = find_version(db.session, project, name, version)
    right = find_version(db.session, project, name, given["to"])
    return answer_with(version_diff.diff(store(), left, right))


@routes.route("POST", "/projects/<project>/workflows/<name>/activate", "editor", body=Chosen, answer=VersionDocument)
def activate(given: Json, project: Project, name: str) -> Response:
    """Choose the version that launches and schedules use"""
    version = activate_version(db.session, principal(), project, name, given["version"])
    return answer_with(workflow_query.version_document(workflow_query.get(db.session, project, name), version))


@routes.route("POST", "/projects/<project>/workflows/<name>/rollback", "editor", body=Target, answer=RolledBack)
def rollback(given: Json, project: Project, name: str) -> Response:
    """Go back to an earlier version, the schedules of the workflow along with it, and when asked aliases of models"""
    aliases = [(one["model"], one["alias"]) for one in given["aliases"]]
    done = roll_back(db.session, store(), principal(), project, name, given["to"], aliases)
    answer = {"workflow": name, "left": done.left.digest, "version": done.version.digest, "schedules": done.schedules}
    documents = model_query.move_documents(db.session, done.aliases)
    moves = [told | {"model": move.model.name} for told, move in zip(documents, done.aliases, strict=True)]
    return answer_with(answer | {"aliases": moves})
