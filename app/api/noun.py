"""How a module of `app.api` declares its routes: method, path, who may call, what comes in and what goes out, at once.

A typed front of flask-smorest's decorators, so that no route can be declared without its permission and its schemas.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from flask_smorest import Blueprint
from marshmallow import Schema

from app.guard import allow

View = TypeVar("View", bound=Callable[..., Any])
Answer = type[Schema] | str | None


class Noun:
    """The routes of one noun."""

    def __init__(self, name: str, description: str) -> None:
        self.blueprint = Blueprint(name, name, description=description)

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
    ) -> Callable[[View], View]:
        """`role` as in `app.guard.allow`; a `query` or `body` is the view's first argument; an `answer` that is no
        schema is a media type. A `raw` route takes bytes."""

        def declare(view: View) -> View:
            wrapped: Callable[..., Any] = allow(role, raw=raw)(view)
            if query or body:
                wrapped = self.blueprint.arguments(query or body, location="query" if query else "json")(wrapped)
            wrapped = self._answers(answer, status)(wrapped)
            self.blueprint.route(path, methods=[method])(wrapped)
            return view

        return declare

    def _answers(self, answer: Answer, status: int) -> Callable[[Any], Any]:
        if isinstance(answer, str):
            plain = {"type": "string"} if answer.startswith("text/") else {"type": "string", "format": "binary"}
            made: Callable[[Any], Any] = self.blueprint.response(status, plain, content_type=answer)
        else:
            made = self.blueprint.response(status, answer)
        return made
