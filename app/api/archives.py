"""Runs as files: a run exported as one archive, and an archive made a run."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from flask import Response, request
from werkzeug.http import dump_options_header

from app.api.blobs import CHUNK_BYTES, chunks
from app.api.noun import Noun
from app.api.runs import RunDocument
from app.api.runs import document as run_document
from app.api.schemas import answer_with
from app.db import current_config, db
from app.guard import principal
from app.models import Project
from app.services import run_query
from app.services.run_export import export_run
from app.services.run_import import import_run
from app.stores import store
from celesta.errors import TooLarge

routes = Noun("archives", "Runs as files")


@routes.route("GET", "/projects/<project>/runs/<run>/export", "viewer", answer="application/zip")
def export(project: Project, run: str) -> Response:
    """A run as an RO-Crate: spec, code, inputs, manifests, values, metrics, lineage"""
    found = run_query.get(db.session, project, run)
    folder = tempfile.TemporaryDirectory(prefix="celesta-export-")
    path = Path(folder.name) / "run.zip"
    try:
        export_run(db.session, store(), project, found, path)
    except BaseException:
        folder.cleanup()
        raise
    response = Response(_chunks(path, folder), mimetype="application/zip")
    response.content_length = path.stat().st_size
    response.call_on_close(folder.cleanup)
    name = {"filename": f"{found.workflow.name}-{found.id}.zip"}
    response.headers["Content-Disposition"] = dump_options_header("attachment", name)
    return response


@routes.route("POST", "/projects/<project>/runs/import", "editor", answer=RunDocument, status=201, raw=True)
def import_(project: Project) -> Response:
    """Make a run of an archive that was exported, here or elsewhere; the same archive is the same run"""
    limit = current_config().max_blob_bytes
    if request.content_length is not None and request.content_length > limit:
        raise TooLarge(f"the archive has {request.content_length:,} bytes; at most {limit:,} are taken")
    with tempfile.TemporaryDirectory(prefix="celesta-import-") as folder:
        path = Path(folder) / "run.zip"
        with path.open("wb") as file:
            while chunk := request.stream.read(CHUNK_BYTES):
                file.write(chunk)
        made = import_run(db.session, store(), principal(), project, path)
    return answer_with(run_document(project, run_query.get(db.session, project, made.id)), 201)


def _chunks(path: Path, folder: "tempfile.TemporaryDirectory[str]") -> Iterator[bytes]:
    with folder:
        yield from chunks(path.open("rb"))
