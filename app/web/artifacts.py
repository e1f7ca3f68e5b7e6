"""One artifact: what it is, its beginning, and who used it."""

import json
from typing import Any

from flask import url_for

from app.db import db
from app.models import Artifact, Project
from app.services import artifact_query
from app.stores import store
from app.web.pages import page, show
from celesta.codecs import to_plain

PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")  # formats that cannot carry a script
TEXT_BYTES = 32_000
TEXT_TYPES = ("text/", "application/json", "application/yaml", "application/toml")


@page("/projects/<project>/artifacts/<int:artifact>", "viewer")
def artifact(project: Project, artifact: int) -> str:
    found = artifact_query.get(db.session, project, artifact)
    text, cut = _beginning(found)
    return show(
        "artifact.html",
        "runs",
        artifact=artifact_query.document(found),
        users=artifact_query.users(db.session, found),
        content_url=url_for("artifacts.content", project=project.name, artifact=found.id),
        picture=found.type == "file" and found.ref.get("media_type") in PICTURES,
        text=text,
        cut=cut,
    )


def _beginning(artifact: Artifact) -> tuple[str | None, bool]:
    """The first characters of what is text, and whether there are more."""
    ref: dict[str, Any] = artifact.ref
    if artifact.type in ("json", "list"):
        text = json.dumps(to_plain(ref, store()), indent=2, ensure_ascii=False)
        return text[:TEXT_BYTES], len(text) > TEXT_BYTES
    if artifact.type == "file" and str(ref.get("media_type", "")).startswith(TEXT_TYPES):
        with store().open_blob(ref["blob"]) as stream:
            data = stream.read(TEXT_BYTES + 1)
        return data[:TEXT_BYTES].decode(errors="replace"), len(data) > TEXT_BYTES
    return None, False
