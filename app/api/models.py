"""Models: named series of artifacts, and the aliases that point to one of their versions."""

from flask import Response
from marshmallow import Schema, fields, validate

from app.api.noun import Noun
from app.api.schemas import Json, PageArguments, answer_with, moment, page_answer, page_schema
from app.db import db
from app.guard import principal
from app.models import AliasMove, Project
from app.models.columns import MAX_KEY
from app.models.model import MOVE_STATES
from app.services import artifact_query, model_query, run_query
from app.services.alias_move import decide_move, guard_alias, move_alias, roll_back_alias
from app.services.model_find import find_model, find_model_version
from app.services.model_register import output_of, register_model
from app.stores import store
from celesta.errors import InputError, Problem

routes = Noun("models", "Models, their versions and aliases")


class ModelDocument(Schema):
    name = fields.String()
    versions = fields.Integer(metadata={"description": "the number of the newest"})
    aliases = fields.Dict(keys=fields.String(), values=fields.Integer(), metadata={"description": "alias to number"})
    created_by = fields.String()
    created_at = moment()


class MetricChange(Schema):
    name = fields.String()
    before = fields.Float(allow_none=True)
    after = fields.Float(allow_none=True)
    change = fields.Float(allow_none=True)


class Move(Schema):
    id = fields.Integer()
    alias = fields.String()
    action = fields.String()
    state = fields.String(validate=validate.OneOf(MOVE_STATES))
    from_ = fields.Integer(data_key="from", allow_none=True)
    to = fields.Integer()
    metrics = fields.List(fields.Nested(MetricChange))
    note = fields.String()
    asked_by = fields.String()
    asked_at = moment()
    decided_by = fields.String(allow_none=True)
    decided_at = moment()


class AskedMove(Move):
    made = fields.Boolean(metadata={"description": "false: the alias points there already, and nothing was done"})


class WholeModel(ModelDocument):
    pending = fields.List(fields.Nested(Move), metadata={"description": "moves that an owner has to decide on"})
    moves = fields.List(fields.Nested(Move), metadata={"description": "the newest first"})


class ModelVersionDocument(Schema):
    model = fields.String()
    number = fields.Integer()
    aliases = fields.List(fields.String())
    artifact = fields.Integer(allow_none=True)
    run_id = fields.String()
    path = fields.String()
    output = fields.String()
    digest = fields.String()
    type = fields.String()
    size = fields.Integer()
    preview = fields.String()
    ref = fields.Dict()
    metrics = fields.Dict(keys=fields.String(), values=fields.Float())
    notes = fields.String()
    created_by = fields.String()
    created_at = moment()


class NewModelVersion(Schema):
    artifact = fields.Integer(load_default=None, allow_none=True, validate=validate.Range(0, MAX_KEY))
    run = fields.String(load_default=None, allow_none=True, metadata={"description": "instead of an artifact"})
    output = fields.String(load_default=None, allow_none=True, metadata={"description": "which output of the run"})
    notes = fields.String(load_default="", validate=validate.Length(max=10_000))
    metrics = fields.Dict(keys=fields.String(), values=fields.Float(), load_default=dict)


class NewMove(Schema):
    version = fields.String(required=True, metadata={"description": "a number, or another alias"})
    note = fields.String(load_default="", validate=validate.Length(max=10_000))


class Decision(Schema):
    approve = fields.Boolean(required=True)


class Guard(Schema):
    guarded = fields.Boolean(required=True)


class Guards(Schema):
    items = fields.List(fields.String())


@routes.route("GET", "/projects/<project>/models", "viewer", query=PageArguments, answer=page_schema(ModelDocument))
def list_models(given: Json, project: Project) -> Response:
    """The models of a project by name"""
    found = model_query.page(db.session, project, **given)
    return page_answer(model_query.listed(db.session, found.items), found.next_cursor)


@routes.route("GET", "/projects/<project>/models/<name>", "viewer", answer=WholeModel)
def show_model(project: Project, name: str) -> Response:
    """A model: where its aliases point, what waits for approval, and the newest moves"""
    return answer_with(model_query.document(db.session, find_model(db.session, project, name)))


@routes.route(
    "GET",
    "/projects/<project>/models/<name>/versions",
    "viewer",
    query=PageArguments,
    answer=page_schema(ModelVersionDocument),
)
def list_model_versions(given: Json, project: Project, name: str) -> Response:
    """The newest versions first"""
    model = find_model(db.session, project, name)
    found = model_query.versions(db.session, model, **given)
    return page_answer(model_query.version_documents(db.session, model, found.items), found.next_cursor)


@routes.route("GET", "/projects/<project>/models/<name>/versions/<version>", "viewer", answer=ModelVersionDocument)
def show_model_version(project: Project, name: str, version: str) -> Response:
    """A version by its number or by an alias"""
    model = find_model(db.session, project, name)
    found = find_model_version(db.session, model, version)
    return answer_with(model_query.version_documents(db.session, model, [found])[0])


@routes.route(
    "POST",
    "/projects/<project>/models/<name>/versions",
    "editor",
    body=NewModelVersion,
    answer=ModelVersionDocument,
    status=201,
)
def register(given: Json, project: Project, name: str) -> Response:
    """Register an artifact, or an output of a run, as the next version; the model is made with its first"""
    if (given["artifact"] is None) == (given["run"] is None):
        raise InputError([Problem("artifact", "give an artifact, or a run, and not both")])
    if given["artifact"] is not None:
        artifact = artifact_query.get(db.session, project, given["artifact"])
    else:
        artifact = output_of(db.session, store(), run_query.get(db.session, project, given["run"]), given["output"])
    more = {"notes": given["notes"], "metrics": given["metrics"]}
    made = register_model(db.session, store(), principal(), project, name, artifact, **more)
    model = find_model(db.session, project, name)
    document = model_query.version_documents(db.session, model, [made.version])[0]
    return answer_with(document, 201 if made.created else 200)


@routes.route("PUT", "/projects/<project>/models/<name>/aliases/<alias>", "editor", body=NewMove, answer=AskedMove)
def move(given: Json, project: Project, name: str, alias: str) -> Response:
    """Point an alias to a version; 202 and `pending` where an owner has to approve"""
    asked = move_alias(db.session, principal(), project, name, alias, given["version"], given["note"])
    return _moved(asked.move, made=asked.made)


@routes.route("POST", "/projects/<project>/models/<name>/aliases/<alias>/rollback", "editor", answer=Move)
def rollback(project: Project, name: str, alias: str) -> Response:
    """Point an alias to the version before; again goes back further"""
    return _moved(roll_back_alias(db.session, principal(), project, name, alias))


@routes.route("POST", "/projects/<project>/models/<name>/moves/<int:move>", "owner", body=Decision, answer=Move)
def decide(given: Json, project: Project, name: str, move: int) -> Response:
    """Approve or refuse a move that waits"""
    return _moved(decide_move(db.session, principal(), project, name, move, given["approve"]))


@routes.route("GET", "/projects/<project>/guarded-aliases", "viewer", answer=Guards)
def list_guards(project: Project) -> Response:
    """The aliases that move only when an owner approves"""
    return answer_with({"items": model_query.guarded(db.session, project)})


@routes.route("PUT", "/projects/<project>/guarded-aliases/<alias>", "owner", body=Guard, answer=Guards)
def guard(given: Json, project: Project, alias: str) -> Response:
    """Have moves of an alias, in every model of the project, wait for an owner, or no more"""
    guard_alias(db.session, principal(), project, alias, given["guarded"])
    return answer_with({"items": model_query.guarded(db.session, project)})


def _moved(move: AliasMove, **more: bool) -> Response:
    (document,) = model_query.move_documents(db.session, [move])
    return answer_with(document | more, 202 if move.state == "pending" else 200)
