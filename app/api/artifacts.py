"""Artifacts: list, look, download. And what the cache of a project has saved."""

from collections.abc import Iterator

from flask import Response
from marshmallow import Schema, fields
from werkzeug.http import dump_options_header

from app.api.noun import Noun
from app.api.schemas import Json, PageArguments, answer_with, moment, page_answer, page_schema
from app.db import db
from app.models import Project
from app.services import artifact_query, cache_query
from app.services.artifact_query import Content
from app.stores import store

routes = Noun("artifacts", "Outputs of steps, and the cache")
CHUNK_BYTES = 1 << 20


class ArtifactDocument(Schema):
    id = fields.Integer()
    run_id = fields.String()
    node = fields.String()
    path = fields.String()
    name = fields.String()
    type = fields.String()
    digest = fields.String()
    blob = fields.String(allow_none=True)
    size = fields.Integer()
    preview = fields.String()
    ref = fields.Dict(metadata={"description": "the value reference; give it to a run as one of its `input_refs`"})
    created_at = moment()


class ArtifactsArguments(PageArguments):
    run = fields.String(load_default="")
    digest = fields.String(load_default="", metadata={"description": "a digest, or the beginning of one"})


class TaskUse(Schema):
    task = fields.String()
    entries = fields.Integer()
    hits = fields.Integer()
    misses = fields.Integer()
    hit_rate = fields.Float(allow_none=True)
    seconds_saved = fields.Float()


class CacheStats(Schema):
    entries = fields.Integer()
    hits = fields.Integer()
    misses = fields.Integer()
    hit_rate = fields.Float(allow_none=True)
    bytes = fields.Integer()
    seconds_saved = fields.Float()
    tasks = fields.List(fields.Nested(TaskUse))


@routes.route(
    "GET", "/projects/<project>/artifacts", "viewer", query=ArtifactsArguments, answer=page_schema(ArtifactDocument)
)
def list_artifacts(given: Json, project: Project) -> Response:
    """The newest artifacts first"""
    found = artifact_query.page(db.session, project, **given)
    return page_answer([artifact_query.document(artifact) for artifact in found.items], found.next_cursor)


@routes.route("GET", "/projects/<project>/artifacts/<int:artifact>", "viewer", answer=ArtifactDocument)
def show(project: Project, artifact: int) -> Response:
    """One artifact"""
    return answer_with(artifact_query.document(artifact_query.get(db.session, project, artifact)))


@routes.route(
    "GET", "/projects/<project>/artifacts/<int:artifact>/content", "viewer", answer="application/octet-stream"
)
def content(project: Project, artifact: int) -> Response:
    """The bytes of an artifact, always as a download: files as they are, values as JSON, a directory as a zip"""
    found = artifact_query.content(artifact_query.get(db.session, project, artifact), store())
    response = Response(_chunks(found), mimetype=found.media_type)
    if found.size is not None:
        response.content_length = found.size
    response.headers["Content-Disposition"] = dump_options_header("attachment", {"filename": found.name})
    return response


@routes.route("GET", "/projects/<project>/cache/stats", "viewer", answer=CacheStats)
def stats(project: Project) -> Response:
    """What the cache holds and what it has saved, in all and by task"""
    return answer_with(cache_query.stats(db.session, project))


def _chunks(found: Content) -> Iterator[bytes]:
    with found.stream as stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk
