"""Shapes that the routes of several nouns share. Each noun's own are in its module.

Views return documents that the `*_query` services made, through `answer_with`; the schemas of responses are what the
OpenAPI document tells, and a test holds them against real answers.
"""

from typing import Any

from flask import Response, jsonify
from marshmallow import Schema, fields, validate

from app.services.paging import LIMIT, MAX_LIMIT

Json = dict[str, Any]


class PageArguments(Schema):
    limit = fields.Integer(load_default=LIMIT, validate=validate.Range(1, MAX_LIMIT))
    cursor = fields.String(load_default="", metadata={"description": "`next_cursor` of the page before"})


class Problem(Schema):
    where = fields.String(metadata={"description": "path to what is wrong, empty for the whole"})
    message = fields.String()


class Error(Schema):
    code = fields.String(metadata={"description": "a stable word for programs"})
    message = fields.String()
    errors = fields.List(fields.Raw(), metadata={"description": "problems with their places, or what is missing"})
    request_id = fields.String()


class Ref(Schema):
    """A value as it was passed between steps, without its bytes."""

    digest = fields.String()
    type = fields.String(allow_none=True)
    preview = fields.String(allow_none=True)


def page_schema(item: type[Schema]) -> type[Schema]:
    """The schema of a page of these items."""
    members = {"items": fields.List(fields.Nested(item)), "next_cursor": fields.String(allow_none=True)}
    return type(f"{item.__name__}Page", (Schema,), members)


def moment() -> fields.Field[Any]:
    return fields.DateTime(format="iso", allow_none=True, metadata={"description": "UTC"})


def answer_with(document: Any, status: int = 200) -> Response:
    response = jsonify(document)
    response.status_code = status
    return response


def page_answer(items: list[Json], next_cursor: str | None) -> Response:
    return answer_with({"items": items, "next_cursor": next_cursor})
