"""Artifacts: list, look, download, where they came from."""

import re
from unicodedata import normalize
from urllib.parse import quote

from flask import Response
from marshmallow import Schema, fields, validate
from werkzeug.http import dump_options_header

from app.api.blobs import chunks
from app.api.noun import Noun
from app.api.schemas import Json, PageArguments, answer_with, moment, page_answer, page_schema
from app.db import db
from app.guard import principal
from app.models import Project
from app.services import artifact_find, artifact_query, lineage_query
from app.stores import store

routes = Noun("artifacts", "Outputs of steps")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
MEDIA_TYPE = re.compile(r"[!-~]+/[ -~]+")


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


class Consumer(Schema):
    run_id = fields.String()
    node = fields.String()
    path = fields.String()
    input = fields.String()


class WholeArtifact(ArtifactDocument):
    producer = fields.Dict(metadata={"description": "the step, its run and version; `source` where the cache answered"})
    consumers = fields.List(fields.Nested(Consumer), metadata={"description": "the newest steps that took this value"})


class LineageArguments(Schema):
    direction = fields.String(load_default="up", validate=validate.OneOf(("up", "down")))
    depth = fields.Integer(load_default=None, allow_none=True, validate=validate.Range(0))


class LineageDocument(Schema):
    artifact = fields.Nested(ArtifactDocument)
    direction = fields.String()
    steps = fields.List(fields.Dict(), metadata={"description": "by distance; the first made the artifact"})
    edges = fields.List(fields.Dict(), metadata={"description": "from the earlier step to the later"})
    truncated = fields.Boolean(metadata={"description": "there are more than 1,000 steps"})


class FindArguments(Schema):
    digest = fields.String(required=True, validate=validate.Regexp(r"[0-9a-f]{64}\Z", error="64 lower-case hex digits"))


class Maker(ArtifactDocument):
    project = fields.String()
    workflow = fields.String()
    version = fields.String()
    created_by = fields.String()
    cached = fields.Boolean()
    models = fields.List(fields.Dict(), metadata={"description": "the model versions that are this value"})
    part = fields.String(
        allow_none=True, metadata={"description": "where the bytes are in it; null: they are all of it"}
    )


class Makers(Schema):
    digest = fields.String()
    items = fields.List(fields.Nested(Maker))


@routes.route(
    "GET", "/projects/<project>/artifacts", "viewer", query=ArtifactsArguments, answer=page_schema(ArtifactDocument)
)
def list_artifacts(given: Json, project: Project) -> Response:
    """The newest artifacts first"""
    found = artifact_query.page(db.session, project, **given)
    return page_answer([artifact_query.document(artifact) for artifact in found.items], found.next_cursor)


@routes.route("GET", "/projects/<project>/artifacts/find", "viewer", query=FindArguments, answer=Makers)
def find(given: Json, project: Project) -> Response:
    """Who made the bytes of this SHA-256, as an artifact or a part of one, in every project that the caller may see"""
    found = artifact_find.find(db.session, store(), principal(), given["digest"])
    return answer_with({"digest": given["digest"], "items": found})


@routes.route("GET", "/projects/<project>/artifacts/<int:artifact>", "viewer", answer=WholeArtifact)
def show(project: Project, artifact: int) -> Response:
    """One artifact, who made it and who took it"""
    found = artifact_query.get(db.session, project, artifact)
    ends = {
        "producer": artifact_query.producer(db.session, found),
        "consumers": artifact_query.users(db.session, found),
    }
    return answer_with(artifact_query.document(found) | ends)


@routes.route(
    "GET",
    "/projects/<project>/artifacts/<int:artifact>/lineage",
    "viewer",
    query=LineageArguments,
    answer=LineageDocument,
)
def lineage(given: Json, project: Project, artifact: int) -> Response:
    """Where an artifact came from (up) or what became of it (down), across runs and projects"""
    found = artifact_query.get(db.session, project, artifact)
    down = given["direction"] == "down"
    return answer_with(lineage_query.walk(db.session, store(), principal(), found, down=down, depth=given["depth"]))


@routes.route("GET", "/projects/<project>/artifacts/<int:artifact>/content", "viewer", answer="*/*")
def content(project: Project, artifact: int) -> Response:
    """The bytes of an artifact, always as a download: files as they are, values as JSON, a directory as a zip"""
    found = artifact_query.content(artifact_query.get(db.session, project, artifact), store())
    media_type = found.media_type if MEDIA_TYPE.fullmatch(found.media_type) else "application/octet-stream"
    response = Response(chunks(found.stream), mimetype=media_type)
    if found.size is not None:
        response.content_length = found.size
    response.headers["Content-Disposition"] = dump_options_header("attachment", _named(found.name))
    return response


def _named(name: str) -> dict[str, str]:
    """What a header tells of a file's name: a step may give its file any, of several lines or of any language."""
    name = CONTROL.sub("_", name).encode(errors="replace").decode()
    plain = normalize("NFKD", name).encode("ascii", "ignore").decode()
    return {"filename": name} if plain == name else {"filename": plain, "filename*": f"UTF-8''{quote(name, safe='')}"}
