"""The lineage of an artifact as a document.

Called by `app.api` and `app.web`; the walk itself is `lineage_walk`. Writes nothing.
"""

from typing import Any

from sqlalchemy import select, tuple_

from app.access import Principal
from app.models import Artifact
from app.services import artifact_query, project_query
from app.services.graph_layout import layout
from app.services.lineage_walk import MOST_STEPS, Found, Key, Walker, chunks
from app.services.moments import iso
from app.services.session import Session
from celesta.codecs import preview
from celesta.store import Store

Document = dict[str, Any]


def walk(
    session: Session,
    store: Store,
    principal: Principal,
    artifact: Artifact,
    *,
    down: bool = False,
    depth: int | None = None,
    most: int = MOST_STEPS,
) -> Document:
    """The lineage document of an artifact (contracts, section 12): steps by their distance, and edges between them."""
    projects = [project.id for project in project_query.visible(session, principal)]
    walker = Walker(session, store, projects, most)
    root = Key(artifact.run_id, artifact.node)
    walker.load([root])
    truncated = walker.go(root, artifact.name, down, depth)
    return {
        "artifact": artifact_query.document(artifact),
        "direction": "down" if down else "up",
        "steps": _documents(session, walker),
        "edges": [edge._asdict() | {"source": _id(edge.source), "target": _id(edge.target)} for edge in walker.edges],
        "truncated": truncated,
    }


def _id(key: Key) -> str:
    return f"{key.run_id}/{key.node}"


def _documents(session: Session, walker: Walker) -> list[Document]:
    found = list(walker.found())
    made: dict[Key, list[Document]] = {}
    for part in chunks([step.key for step, _ in found]):
        query = select(Artifact).where(tuple_(Artifact.run_id, Artifact.node).in_(part)).order_by(Artifact.id)
        for artifact in session.scalars(query):
            made.setdefault(Key(artifact.run_id, artifact.node), []).append(_output(artifact))
    return [_document(walker, step, level, made.get(step.key, [])) for step, level in found]


def _document(walker: Walker, step: Found, level: int, outputs: list[Document]) -> Document:
    flow = walker.flow(step)
    given = flow.given(step.key.node) if not step.source else []
    return {
        "id": _id(step.key),
        "run_id": step.key.run_id,
        "node": step.key.node,
        "path": step.path,
        "task": step.task,
        "state": step.state,
        "distance": level,
        "project": step.project,
        "workflow": step.workflow,
        "version": step.version,
        "code_digest": flow.code_digest(step.key.node),
        "created_by": step.created_by,
        "finished_at": iso(step.finished_at),
        "given": {name: preview(step.run_inputs[outer]) for name, outer in given if outer in step.run_inputs},
        "outputs": outputs,
    }


def _output(artifact: Artifact) -> Document:
    return {
        "artifact": artifact.id,
        "name": artifact.name,
        "type": artifact.type,
        "digest": artifact.digest,
        "size": artifact.size,
        "preview": preview(artifact.ref),
    }


def graph(lineages: list[Document]) -> Document:
    """Several lineages of one artifact as one drawing: nodes, edges and places, as of a plan."""
    steps = {step["id"]: step for lineage in lineages for step in lineage["steps"]}
    index = {key: number for number, key in enumerate(steps)}
    pairs = {(edge["source"], edge["target"]) for lineage in lineages for edge in lineage["edges"]}
    edges = sorted((index[source], index[target]) for source, target in pairs)
    nodes = [step | {"index": index[key], "map": False} for key, step in steps.items()]
    return {"nodes": nodes, "edges": edges, "layout": layout(len(nodes), edges).document()}
