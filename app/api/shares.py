"""What a project shares with others, and what others share with it."""

from flask import Response
from marshmallow import Schema, fields

from app.api.noun import Noun
from app.api.schemas import Json, answer_with, moment, page_answer, page_schema
from app.api.workflows import WholeWorkflow
from app.db import db
from app.guard import principal
from app.models import Project, Share
from app.services import share_find, workflow_query
from app.services.moments import iso
from app.services.share_set import share, unshare
from app.services.version_find import find_version
from app.stores import store

routes = Noun("shares", "Workflows and tasks that projects share")


class NewShare(Schema):
    with_ = fields.String(required=True, data_key="with", metadata={"description": "the project that may use it"})
    workflow = fields.String(load_default=None, allow_none=True, metadata={"description": "null: all of them"})


class ShareDocument(Schema):
    with_ = fields.String(data_key="with")
    workflow = fields.String(allow_none=True)
    created_by = fields.String()
    created_at = moment()


class SharedDocument(Schema):
    project = fields.String()
    name = fields.String()
    kind = fields.String()
    active_version = fields.String(allow_none=True)
    steps = fields.Integer()


class VersionArguments(Schema):
    version = fields.String(load_default=None, allow_none=True)


@routes.route("GET", "/projects/<project>/shares", "viewer", answer=page_schema(ShareDocument))
def list_shares(project: Project) -> Response:
    """What this project lets others use"""
    return page_answer([_document(one) for one in share_find.given(db.session, project)], None)


@routes.route("PUT", "/projects/<project>/shares", "owner", body=NewShare, answer=ShareDocument)
def put_share(given: Json, project: Project) -> Response:
    """Let another project launch a workflow and refer to it, or all of them"""
    return answer_with(_document(share(db.session, principal(), project, given["with_"], given["workflow"])))


@routes.route("DELETE", "/projects/<project>/shares", "owner", query=NewShare, status=204)
def drop_share(given: Json, project: Project) -> Response:
    """End it; versions that refer to it already keep what they were linked to"""
    unshare(db.session, principal(), project, given["with_"], given["workflow"])
    return Response(status=204)


@routes.route("GET", "/projects/<project>/shared", "viewer", answer=page_schema(SharedDocument))
def list_shared(project: Project) -> Response:
    """What others let this project use: launch it as `project/name`"""
    found = [
        {
            "project": workflow.project.name,
            "name": workflow.name,
            "kind": workflow.kind,
            "active_version": workflow.active_version.digest if workflow.active_version else None,
            "steps": workflow.active_version.step_count if workflow.active_version else 0,
        }
        for workflow in share_find.received(db.session, project)
    ]
    return page_answer(found, None)


@routes.route(
    "GET", "/projects/<project>/shared/<owner>/<name>", "viewer", query=VersionArguments, answer=WholeWorkflow
)
def show_shared(given: Json, project: Project, owner: str, name: str) -> Response:
    """A shared workflow with its active version, or another"""
    home = share_find.shared_home(db.session, project, owner, name)
    version = find_version(db.session, home, name, given["version"])
    workflow = workflow_query.get(db.session, home, name)
    document = workflow_query.version_document(workflow, version, store())
    return answer_with({"name": f"{owner}/{name}", "kind": workflow.kind} | document)


def _document(one: Share) -> Json:
    return {
        "with": one.receiver.name,
        "workflow": one.workflow.name if one.workflow else None,
        "created_by": one.created_by,
        "created_at": iso(one.created_at),
    }
