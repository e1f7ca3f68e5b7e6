"""The list of artifacts, and one of them: what it is, its beginning, where it came from and who used it."""

import json
from typing import Any

from flask import request, url_for

from app.db import db
from app.guard import principal
from app.models import Artifact, Project
from app.services import artifact_query, lineage_query
from app.stores import store
from app.web.pages import cursor, neighbours, page, show
from celesta.codecs import to_plain

PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")  # formats that cannot carry a script
TEXT_BYTES = 32_000
ARTIFACTS_SHOWN = 50
STEPS_DRAWN = 60
"""Of the steps in each direction; more than this nobody follows by eye."""
TEXT_TYPES = ("text/", "application/json", "application/yaml", "application/toml")


@page("/projects/<project>/artifacts", "viewer")
def artifacts(project: Project) -> str:
    chosen = {name: request.args.get(name, "").strip() for name in ("run", "digest")}
    found = artifact_query.page(db.session, project, **chosen, cursor=cursor(), limit=ARTIFACTS_SHOWN)
    return show(
        "artifacts.html",
        "artifacts",
        artifacts=[artifact_query.document(item) for item in found.items],
        chosen=chosen,
        **neighbours(found),
    )


@page("/projects/<project>/artifacts/<int:artifact>", "viewer")
def artifact(project: Project, artifact: int) -> str:
    found = artifact_query.get(db.session, project, artifact)
    text, cut = _beginning(found)
    lineages = [_lineage(found, down) for down in (False, True)]
    drawn = lineage_query.graph(lineages)
    return show(
        "artifact.html",
        "artifacts",
        artifact=artifact_query.document(found),
        producer=artifact_query.producer(db.session, found),
        graph=drawn,
        live=True,
        states={str(node["index"]): {"state": node["state"]} for node in drawn["nodes"]},
        link=lambda node: url_for("web.step", project=node["project"], run=node["run_id"], node=node["node"]),
        truncated=any(lineage["truncated"] for lineage in lineages),
        lineage_url=url_for("artifacts.lineage", project=project.name, artifact=found.id),
        users=artifact_query.users(db.session, found),
        content_url=url_for("artifacts.content", project=project.name, artifact=found.id),
        picture=found.type == "file" and found.ref.get("media_type") in PICTURES,
        text=text,
        cut=cut,
    )


def _lineage(artifact: Artifact, down: bool) -> dict[str, Any]:
    return lineage_query.walk(db.session, store(), principal(), artifact, down=down, most=STEPS_DRAWN)


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
