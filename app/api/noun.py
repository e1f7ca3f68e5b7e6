"""How a module of `app.api` declares its routes: method, path, who may call, what comes in and what goes out, at once.

A typed front of flask-smorest's decorators, so that no route can be declared without its permission and its schemas.
"""

import json
from collections.abc import Callable
from typing import Any, TypeVar

from flask import Request
from flask_smorest import Blueprint
from marshmallow import Schema
from webargs import missing
from webargs.flaskparser import FlaskParser, is_json_request
from werkzeug.exceptions import BadRequest

from app import strict_json
from app.access import authenticate
from app.guard import Authenticate, allow
from celesta.errors import InputError

View = TypeVar("View", bound=Callable[..., Any])
Answer = type[Schema] | str | None
_SPELLED = {list: "an array", str: "a text", int: "a number", float: "a number", bool: "a boolean", type(None): "null"}


class Parser(FlaskParser):
    """Reads bodies; what Python's own parser breaks on is the sender's mistake too."""

    def load_json(self, req: Request, schema: Schema) -> Any:
        _require_whole(req)
        try:
            document = super().load_json(req, schema)
            if b"\\ud" in req.get_data(cache=True).lower():
                json.dumps(document, ensure_ascii=False).encode()
        except RecursionError:
            raise BadRequest("the JSON body is nested too deeply") from None
        except UnicodeEncodeError:
            raise BadRequest("the JSON body holds half a surrogate pair, which is no text") from None
        except ValueError as error:  # a number that is none, or of more digits than Python reads
            raise BadRequest(f"the JSON body cannot be read: {error}") from None
        if document is not missing and not isinstance(document, dict):
            raise InputError(f"the JSON body is {_SPELLED[type(document)]}, and has to be an object")
        return document

    def _raw_load_json(self, req: Request) -> Any:
        return strict_json.loads(req.get_data(cache=True)) if is_json_request(req) else missing


def _require_whole(req: Request) -> None:
    """A chunked body that reaches the limit is cut there without a word; who reads on is told so (413)."""
    req.get_data(cache=True)
    if req.content_length is None:
        req.stream.read(1)


class Noun:
    """The routes of one noun."""

    def __init__(self, name: str, description: str) -> None:
        self.blueprint = Blueprint(name, name, description=description)
        self.blueprint.ARGUMENTS_PARSER = Parser()

    def route(
        self,
        method: str,
        path: str,
        role: str,
        *,
        query: type[Schema] | None = None,
        body: type[Schema] | None = None,
        answer: Answer = None,
        status: int = 200,
        raw: bool = False,
        by: Authenticate = authenticate,
    ) -> Callable[[View], View]:
        """`role` as in `app.guard.allow`; a `query` or `body` is the view's first argument; an `answer` that is no
        schema is a media type (`*/*`: whatever was stored). A `raw` route takes bytes. `by` tells by what the caller
        is known."""

        def declare(view: View) -> View:
            wrapped: Callable[..., Any] = allow(role, raw=raw, by=by)(view)
            if query or body:
                wrapped = self.blueprint.arguments(query or body, location="query" if query else "json")(wrapped)
            wrapped = self._answers(answer, status)(wrapped)
            self.blueprint.route(path, methods=[method])(wrapped)
            return view

        return declare

    def _answers(self, answer: Answer, status: int) -> Callable[[Any], Any]:
        if isinstance(answer, str):
            made: Callable[[Any], Any] = self.blueprint.response(status, _plain(answer), content_type=answer)
        else:
            made = self.blueprint.response(status, answer)
        return made


def _plain(media_type: str) -> dict[str, Any]:
    """The schema of a body of this type that no schema of ours describes."""
    if media_type == "*/*":
        return {"description": "bytes as they were stored"}
    return {"type": "string"} if media_type.startswith("text/") else {"type": "string", "format": "binary"}
