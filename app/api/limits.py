"""What a project's runs may use at once: named limits, and the project's share of the workers."""

from typing import Any

from flask import Response
from marshmallow import Schema, fields

from app.api.noun import Noun
from app.api.schemas import answer_with, page_answer, page_schema
from app.db import db
from app.guard import principal
from app.models import Project
from app.services.limit_set import remove_limit, set_limit, set_weight

routes = Noun("limits", "What a project's runs may use at once")


class LimitDocument(Schema):
    name = fields.String()
    places = fields.Integer(metadata={"description": "how many steps may use it at once, over all runs"})


class Places(Schema):
    places = fields.Integer(required=True, strict=True)


class Weight(Schema):
    weight = fields.Integer(required=True, strict=True)


@routes.route("GET", "/projects/<project>/limits", "viewer", answer=page_schema(LimitDocument))
def list_limits(project: Project) -> Response:
    """The limits of a project"""
    return page_answer([{"name": name, "places": project.limits[name]} for name in sorted(project.limits)], None)


@routes.route("PUT", "/projects/<project>/limits/<name>", "owner", body=Places, answer=LimitDocument)
def put_limit(given: dict[str, Any], project: Project, name: str) -> Response:
    """Set how many steps that name the limit may be at work at once"""
    set_limit(db.session, principal(), project, name, given["places"])
    return answer_with({"name": name, "places": given["places"]})


@routes.route("DELETE", "/projects/<project>/limits/<name>", "owner", status=204)
def drop_limit(project: Project, name: str) -> Response:
    """Remove a limit; runs that name it are refused from now on"""
    remove_limit(db.session, principal(), project, name)
    return Response(status=204)


@routes.route("GET", "/projects/<project>/weight", "viewer", answer=Weight)
def show_weight(project: Project) -> Response:
    """The project's share of the workers while other projects wait too"""
    return answer_with({"weight": project.weight})


@routes.route("PUT", "/projects/<project>/weight", "owner", body=Weight, answer=Weight)
def put_weight(given: dict[str, Any], project: Project) -> Response:
    """Set the project's share; for the operator of the server"""
    return answer_with({"weight": set_weight(db.session, principal(), project, given["weight"]).weight})
