"""Runs on the ground of earlier ones: recover and rerun, each with a preview of what runs and what is taken over."""

from typing import Any

from flask import Response
from marshmallow import Schema, fields, validate

from app.api.noun import Noun
from app.api.runs import RunDocument, RunOptions, document
from app.api.schemas import Json, answer_with
from app.db import current_config, db
from app.guard import principal
from app.models import Project
from app.services import run_query
from app.services.run_again import Again, preview_again, recover, rerun, run_again
from app.stores import store

routes = Noun("reruns", "Runs on the ground of earlier ones")
DRY = {"description": "make nothing: answer 200 with what would run"}


class PreviewOfStep(Schema):
    path = fields.String()
    task = fields.String()
    will = fields.String(validate=validate.OneOf(("run", "reuse", "skip")))
    why = fields.String()
    width = fields.Integer(allow_none=True, metadata={"description": "items of a map, where they are known"})
    run = fields.Integer()
    reuse = fields.Integer()
    exact = fields.Boolean(
        metadata={"description": "else it is what the earlier run came to: about `run`, at most `reuse`"}
    )


class Preview(Schema):
    run_id = fields.String(metadata={"description": "the earlier run"})
    kind = fields.String()
    steps_asked = fields.List(fields.String(), data_key="from", metadata={"description": "steps that are asked for"})
    changed = fields.List(fields.String(), metadata={"description": "inputs"})
    run = fields.Integer(metadata={"description": "steps that will run, or be answered from the cache"})
    reuse = fields.Integer(metadata={"description": "steps whose results are taken over"})
    exact = fields.Boolean(metadata={"description": "of all steps; else about `run`, and at most `reuse`"})
    steps = fields.List(fields.Nested(PreviewOfStep))


class NewRecovery(Schema):
    dry_run = fields.Boolean(load_default=False, metadata=DRY)
    idempotency_key = fields.String(load_default=None, allow_none=True, validate=validate.Length(1, 200))
    options = fields.Nested(
        RunOptions, load_default=dict, metadata={"description": "those that change; the others stay"}
    )


class NewRerun(NewRecovery):
    inputs = fields.Dict(keys=fields.String(), load_default=dict, metadata={"description": "those that change, plain"})
    input_refs = fields.Dict(keys=fields.String(), load_default=dict, metadata={"description": "as references"})
    steps = fields.List(
        fields.String(),
        load_default=list,
        data_key="from",
        metadata={"description": "paths of steps that run anew, with all below them"},
    )


@routes.route(
    "POST", "/projects/<project>/runs/<run>/recover", "editor", body=NewRecovery, answer=RunDocument, status=201
)
def recover_run(given: Json, project: Project, run: str) -> Response:
    """The same again, going on where it failed; with `dry_run` the answer is a preview"""
    return _answer(project, run, recover(given["options"]), given)


@routes.route("POST", "/projects/<project>/runs/<run>/rerun", "editor", body=NewRerun, answer=RunDocument, status=201)
def rerun_run(given: Json, project: Project, run: str) -> Response:
    """The same version with other inputs, from chosen steps, or whole; with `dry_run` the answer is a preview"""
    return _answer(project, run, rerun(given["inputs"], given["input_refs"], given["steps"], given["options"]), given)


def _answer(project: Project, run: str, asked: Again, given: dict[str, Any]) -> Response:
    origin = run_query.get(db.session, project, run)
    if given["dry_run"]:
        return answer_with(preview_again(db.session, store(), principal(), project, origin, asked))
    made = run_again(
        db.session, current_config(), store(), principal(), project, origin, asked, given["idempotency_key"]
    )
    return answer_with(document(project, run_query.get(db.session, project, made.id)), 201)
