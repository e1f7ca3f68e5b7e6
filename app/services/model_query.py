"""Reads models, their versions and the moves of their aliases for the REST API and the dashboard. Writes nothing."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import aliased, joinedload

from app.models import AliasMove, GuardedAlias, Model, ModelAlias, ModelVersion, Project
from app.services.moments import iso
from app.services.paging import Page, decode, page_of
from app.services.session import Session
from celesta.codecs import preview

MOVES_SHOWN = 50
OF_VALUE_SHOWN = 20
Document = dict[str, Any]


def page(session: Session, project: Project, *, cursor: str = "", limit: int = 50) -> Page[Model]:
    """The models of a project by name."""
    query = select(Model).where(Model.project_id == project.id)
    if cursor:
        query = query.where(Model.name > decode(cursor, str)[0])
    rows = session.scalars(query.order_by(Model.name).limit(limit + 1)).all()
    return page_of(rows, limit, lambda model: (model.name,))


def listed(session: Session, models: list[Model]) -> list[Document]:
    """What a list tells of models; two statements for any number of them."""
    ids = [model.id for model in models]
    newest = select(ModelVersion.model_id, func.max(ModelVersion.number)).where(ModelVersion.model_id.in_(ids))
    numbers = dict(session.execute(newest.group_by(ModelVersion.model_id)).all()) if ids else {}
    aliases = _aliases(session, ids)
    return [
        {
            "name": model.name,
            "versions": numbers.get(model.id, 0),
            "aliases": {name: move.version.number for name, move in aliases.get(model.id, {}).items()},
            "created_by": model.created_by,
            "created_at": iso(model.created_at),
        }
        for model in models
    ]


def document(session: Session, model: Model) -> Document:
    """A model with where its aliases point, the moves that wait, and the newest moves."""
    query = select(AliasMove).where(AliasMove.model_id == model.id).options(joinedload(AliasMove.version))
    moves = session.scalars(query.order_by(AliasMove.id.desc()).limit(MOVES_SHOWN)).all()
    pending = session.scalars(query.where(AliasMove.state == "pending").order_by(AliasMove.id)).all()
    told = move_documents(session, [*pending, *moves])
    return listed(session, [model])[0] | {"pending": told[: len(pending)], "moves": told[len(pending) :]}


def versions(session: Session, model: Model, *, cursor: str = "", limit: int = 50) -> Page[ModelVersion]:
    """The newest versions first."""
    query = select(ModelVersion).where(ModelVersion.model_id == model.id)
    if cursor:
        query = query.where(ModelVersion.number < decode(cursor, int)[0])
    rows = session.scalars(query.order_by(ModelVersion.number.desc()).limit(limit + 1)).all()
    return page_of(rows, limit, lambda version: (version.number,))


def version_documents(session: Session, model: Model, found: list[ModelVersion]) -> list[Document]:
    aliases = _aliases(session, [model.id]).get(model.id, {})
    return [
        {
            "model": model.name,
            "number": version.number,
            "aliases": _of_version(aliases, version),
            "artifact": version.artifact_id,
            "run_id": version.run_id,
            "path": version.path,
            "output": version.output,
            "digest": version.digest,
            "type": version.ref["type"],
            "size": version.ref["size"],
            "preview": preview(version.ref),
            "ref": version.ref,
            "metrics": version.metrics,
            "notes": version.notes,
            "created_by": version.created_by,
            "created_at": iso(version.created_at),
        }
        for version in found
    ]


def move_documents(session: Session, moves: list[AliasMove]) -> list[Document]:
    """Moves, with how the metrics differ from those of the version that the alias points, or pointed, to before."""
    left = _left(session, moves)
    return [_move_document(move, left.get(move.id)) for move in moves]


def _move_document(move: AliasMove, left: ModelVersion | None) -> Document:
    return {
        "id": move.id,
        "alias": move.alias,
        "action": move.action,
        "state": move.state,
        "from": left.number if left else None,
        "to": move.version.number,
        "metrics": metrics_difference(left.metrics if left else {}, move.version.metrics),
        "note": move.note,
        "asked_by": move.asked_by,
        "asked_at": iso(move.asked_at),
        "decided_by": move.decided_by,
        "decided_at": iso(move.decided_at),
    }


def metrics_difference(before: Mapping[str, float], after: Mapping[str, float]) -> list[Document]:
    """`before`, `after` and their difference of every metric that either has."""
    names = {**before, **after}
    pairs = [(name, before.get(name), after.get(name)) for name in names]
    return [
        {"name": name, "before": old, "after": new, "change": None if old is None or new is None else new - old}
        for name, old, new in pairs
    ]


def guarded(session: Session, project: Project) -> list[str]:
    """The aliases that an owner has to approve the moves of."""
    query = select(GuardedAlias.name).where(GuardedAlias.project_id == project.id)
    return list(session.scalars(query.order_by(GuardedAlias.name)))


def of_digest(session: Session, projects: list[int], digests: set[str]) -> dict[str, list[Document]]:
    """The model versions that are these values, of each the newest 20; two statements for any number of them."""
    if not digests:
        return {}
    age = func.row_number().over(partition_by=ModelVersion.digest, order_by=ModelVersion.id.desc())
    held = Model.project_id.in_(projects), ModelVersion.digest.in_(digests)
    ranked = select(ModelVersion.id, age.label("age")).join(ModelVersion.model).where(*held).subquery()
    query = select(ModelVersion).join(ranked, ranked.c.id == ModelVersion.id).where(ranked.c.age <= OF_VALUE_SHOWN)
    found = session.scalars(query.options(joinedload(ModelVersion.model)).order_by(ModelVersion.id)).all()
    aliases = _aliases(session, list({version.model_id for version in found}))
    told: dict[str, list[Document]] = {}
    for version in found:
        names = _of_version(aliases.get(version.model_id, {}), version)
        document = {"model": version.model.name, "number": version.number, "aliases": names}
        told.setdefault(version.digest, []).append(document)
    return told


def _left(session: Session, moves: list[AliasMove]) -> dict[int, ModelVersion]:
    """The version that the alias pointed to when a move was carried out, or points to while it waits, by move."""
    done = aliased(AliasMove)
    before = select(done.id).where(done.model_id == AliasMove.model_id, done.alias == AliasMove.alias)
    before = before.where(done.state == "done", done.id != AliasMove.id)
    before = before.where(AliasMove.decided_at.is_(None) | (done.decided_at <= AliasMove.decided_at))
    last = before.order_by(done.decided_at.desc(), done.id.desc()).limit(1).correlate(AliasMove).scalar_subquery()
    other = aliased(AliasMove)
    query = select(AliasMove.id, ModelVersion).select_from(AliasMove).join(other, other.id == last).join(other.version)
    return dict(session.execute(query.where(AliasMove.id.in_([move.id for move in moves]))).all()) if moves else {}


def _of_version(aliases: Mapping[str, AliasMove], version: ModelVersion) -> list[str]:
    return [name for name, move in aliases.items() if move.version_id == version.id]


def _aliases(session: Session, models: list[int]) -> dict[int, dict[str, AliasMove]]:
    found: dict[int, dict[str, AliasMove]] = {}
    query = select(ModelAlias).where(ModelAlias.model_id.in_(models)).order_by(ModelAlias.name)
    for alias in session.scalars(query.options(joinedload(ModelAlias.move).joinedload(AliasMove.version))):
        found.setdefault(alias.model_id, {})[alias.name] = alias.move
    return found
