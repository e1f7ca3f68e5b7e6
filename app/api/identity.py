"""Who one is, projects, members and tokens."""

from datetime import UTC, datetime
from typing import Any

from flask import Response
from marshmallow import Schema, ValidationError, fields, validate

from app.access import Principal
from app.api.noun import Noun
from app.api.schemas import PageArguments, answer_with, moment, page_answer, page_schema
from app.db import db
from app.guard import SIGNED_IN, principal
from app.models import Member, Project, Token
from app.models.columns import now
from app.models.identity import ROLES
from app.services import project_query
from app.services.member_set import remove_member, set_member
from app.services.moments import iso
from app.services.project_create import create_project
from app.services.token_issue import issue_token
from app.services.token_revoke import revoke_token

routes = Noun("identity", "Who one is, projects, members and tokens")
Role = validate.OneOf(ROLES)
LAST = datetime.max.replace(tzinfo=UTC)


class MeDocument(Schema):
    name = fields.String()
    projects = fields.Dict(keys=fields.String(), values=fields.String(), metadata={"description": "role by project"})
    restricted = fields.Boolean(metadata={"description": "speaks through a token of one project or a lower role"})


class ProjectDocument(Schema):
    name = fields.String()
    description = fields.String()
    role = fields.String(metadata={"description": "the caller's"})
    created_at = moment()


class NewProject(Schema):
    name = fields.String(required=True)
    description = fields.String(load_default="")


class MemberDocument(Schema):
    user = fields.String()
    role = fields.String()


class MemberRole(Schema):
    role = fields.String(required=True, validate=Role)


class TokenDocument(Schema):
    id = fields.Integer()
    user = fields.String()
    role = fields.String()
    name = fields.String()
    prefix = fields.String()
    all_projects = fields.Boolean()
    created_at = moment()
    last_used_at = moment()
    expires_at = moment()
    revoked_at = moment()


def _is_ahead(moment: datetime) -> None:
    if not now() < moment <= LAST:
        raise ValidationError("is not after now and before the year 10000")


class NewToken(Schema):
    user = fields.String(load_default="", metadata={"description": "a member; empty: the caller"})
    role = fields.String(load_default="viewer", validate=Role)
    name = fields.String(load_default="", validate=validate.ContainsNoneOf("\0", error="holds a NUL character"))
    all_projects = fields.Boolean(load_default=False)
    expires_at = fields.AwareDateTime(load_default=None, validate=_is_ahead)


class IssuedToken(TokenDocument):
    token = fields.String(metadata={"description": "the secret; it is told here and never again"})


@routes.route("GET", "/me", SIGNED_IN, answer=MeDocument)
def me() -> Response:
    """The caller and its roles"""
    who = principal()
    roles = {project.name: who.role_in(project.id) for project in project_query.visible(db.session, who)}
    return answer_with({"name": who.name, "projects": roles, "restricted": who.restricted})


@routes.route("GET", "/projects", SIGNED_IN, query=PageArguments, answer=page_schema(ProjectDocument))
def list_projects(page: dict[str, Any]) -> Response:
    """The projects of which the caller is a member"""
    found = project_query.page(db.session, principal(), **page)
    return page_answer([_project(project, principal()) for project in found.items], found.next_cursor)


@routes.route("POST", "/projects", SIGNED_IN, body=NewProject, answer=ProjectDocument, status=201)
def make_project(given: dict[str, Any]) -> Response:
    """Make a project, and own it"""
    project = create_project(db.session, principal(), **given)
    return answer_with({**_project(project, principal()), "role": "owner"}, 201)


@routes.route("GET", "/projects/<project>", "viewer", answer=ProjectDocument)
def show_project(project: Project) -> Response:
    """One project"""
    return answer_with(_project(project, principal()))


@routes.route("GET", "/projects/<project>/members", "viewer", answer=page_schema(MemberDocument))
def list_members(project: Project) -> Response:
    """The members of a project"""
    return page_answer([_member(member) for member in project_query.members(db.session, project)], None)


@routes.route("PUT", "/projects/<project>/members/<user>", "owner", body=MemberRole, answer=MemberDocument)
def put_member(given: dict[str, Any], project: Project, user: str) -> Response:
    """Give a user a role in the project"""
    return answer_with(_member(set_member(db.session, principal(), project, user, given["role"])))


@routes.route("DELETE", "/projects/<project>/members/<user>", "owner", status=204)
def drop_member(project: Project, user: str) -> Response:
    """Take a member's role away"""
    remove_member(db.session, principal(), project, user)
    return Response(status=204)


@routes.route("GET", "/projects/<project>/tokens", "owner", answer=page_schema(TokenDocument))
def list_tokens(project: Project) -> Response:
    """The tokens of a project, without their secrets"""
    found = project_query.tokens(db.session, project, principal())
    return page_answer([_token(token) for token in found], None)


@routes.route("POST", "/projects/<project>/tokens", "owner", body=NewToken, answer=IssuedToken, status=201)
def make_token(given: dict[str, Any], project: Project) -> Response:
    """Make a token for a member; its secret is in this answer only"""
    user = given.pop("user") or principal().name
    if principal().everywhere and user == principal().name:
        set_member(db.session, principal(), project, user, "owner")  # a token speaks for a member of the project
    token, secret = issue_token(db.session, principal(), project, user, **given)
    return answer_with(_token(token) | {"token": secret}, 201)


@routes.route("DELETE", "/projects/<project>/tokens/<int:token_id>", "owner", status=204)
def drop_token(project: Project, token_id: int) -> Response:
    """Revoke a token"""
    revoke_token(db.session, principal(), project, token_id)
    return Response(status=204)


def _project(project: Project, who: Principal) -> dict[str, Any]:
    return {
        "name": project.name,
        "description": project.description,
        "role": who.role_in(project.id),
        "created_at": iso(project.created_at),
    }


def _member(member: Member) -> dict[str, Any]:
    return {"user": member.user.name, "role": member.role}


def _token(token: Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "user": token.user.name,
        "role": token.role,
        "name": token.name,
        "prefix": token.prefix,
        "all_projects": token.project_id is None,
        "created_at": iso(token.created_at),
        "last_used_at": iso(token.last_used_at),
        "expires_at": iso(token.expires_at),
        "revoked_at": iso(token.revoked_at),
    }
