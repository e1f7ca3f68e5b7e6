"""Moves an alias of a model to another version, back again, and decides on moves that an owner has to approve.

Every move is a row that stays, so that what was in production when can be told; `ModelAlias` says where it points now.
An alias that the project guards moves when an owner approves; an owner who rolls back has approved with that.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from app.access import Principal, require
from app.db import writing
from app.models import AliasMove, GuardedAlias, Model, ModelAlias, ModelVersion, Project
from app.models.columns import now
from app.services.audit import record
from app.services.model_find import check_name, find_alias, find_model, find_model_version
from celesta.errors import ConflictError, NotFoundError


@dataclass(frozen=True)
class Moved:
    """`made` is False when the alias pointed there already: then the move is the one that brought it there."""

    move: AliasMove
    made: bool


def move_alias(
    session: Any, principal: Principal, project: Project, name: str, alias: str, version: str, note: str = ""
) -> Moved:
    """The move: done, or pending where the alias is guarded. Idempotent: a move to where it points changes nothing.

    Raises `NotFoundError` that names the nearest, and `ConflictError` while another move of the alias is pending.
    """
    require(principal, "editor", project)
    check_name(alias, "alias")
    model = find_model(session, project, name)
    chosen = find_model_version(session, model, version)
    with writing(session, f'somebody moved "{alias}" of "{name}" in this moment; look, and try again'):
        current = _locked(session, model, alias)
        if current is not None and current.move.version_id == chosen.id:
            return Moved(current.move, made=False)
        _require_none_pending(session, model, alias)
        before = current.move_id if current else None
        move = _move(model, alias, chosen, "move", before, principal, note)
        _carry_out(session, principal, project, current, move, ask=_is_guarded(session, project, alias))
        return Moved(move, made=True)


def roll_back_alias(session: Any, principal: Principal, project: Project, name: str, alias: str) -> AliasMove:
    """Back to the version before, again further back. An owner who does that refuses with it what is pending.

    Raises `ConflictError` when there is nothing to go back to, and, for a rollback that an owner has to approve, while
    another move is pending: who may not decide on that does not end it by asking for something else.
    """
    require(principal, "editor", project)
    with writing(session, f'somebody moved "{alias}" of "{name}" in this moment; look, and try again'):
        return rolled_back(session, principal, project, name, alias)


def rolled_back(session: Any, principal: Principal, project: Project, name: str, alias: str) -> AliasMove:
    """The rollback inside the write transaction of whoever rolls back more than the alias."""
    model = find_model(session, project, name)
    find_alias(session, model, alias)
    current = _locked(session, model, alias)
    before = session.get(AliasMove, current.move.before_id) if current and current.move.before_id else None
    if current is None or before is None:
        raise ConflictError(f'"{alias}" of "{name}" has pointed to one version only; there is nothing to go back to')
    ask = _is_guarded(session, project, alias) and not principal.may("owner", project.id)
    if ask:
        _require_none_pending(session, model, alias)
    elif principal.may("owner", project.id):
        for pending in _pending(session, model, alias):
            _decide(pending, principal, "refused")
    move = _move(model, alias, before.version, "rollback", before.before_id, principal, "")
    return _carry_out(session, principal, project, current, move, ask=ask)


def decide_move(
    session: Any, principal: Principal, project: Project, name: str, move_id: int, approve: bool
) -> AliasMove:
    """An owner approves or refuses a pending move. Raises `ConflictError` when somebody decided on it already."""
    require(principal, "owner", project)
    model = find_model(session, project, name)
    with writing(session):
        query = select(AliasMove).where(AliasMove.id == move_id, AliasMove.model_id == model.id).with_for_update()
        move: AliasMove | None = session.scalars(query).one_or_none()
        if move is None:
            raise NotFoundError(f'model "{name}" has no move {move_id}; see: celesta models show {name}')
        if move.state != "pending":
            raise ConflictError(f"the move {move_id} was {'approved' if move.state == 'done' else 'refused'} already")
        _decide(move, principal, "done" if approve else "refused")
        if approve:
            _point(session, _locked(session, model, move.alias), move)
        action = "model.approve" if approve else "model.refuse"
        record(session, principal, action, project, f"{name}@{move.alias}", move=move.id, asked_by=move.asked_by)
        return move


def guard_alias(session: Any, principal: Principal, project: Project, alias: str, guarded: bool) -> None:
    """Whether moves of this alias, in every model of the project, want an owner's approval. Idempotent."""
    require(principal, "owner", project)
    check_name(alias, "alias")
    with writing(session, f'somebody guards "{alias}" already'):
        found = session.get(GuardedAlias, (project.id, alias))
        if guarded and found is None:
            session.add(GuardedAlias(project_id=project.id, name=alias))
        elif found is not None and not guarded:
            session.delete(found)
        else:
            return
        record(session, principal, "alias.guard" if guarded else "alias.unguard", project, alias)


def _carry_out(
    session: Any, principal: Principal, project: Project, current: ModelAlias | None, move: AliasMove, ask: bool
) -> AliasMove:
    session.add(move)
    if not ask:
        _decide(move, principal, "done")
    session.flush()
    if not ask:
        _point(session, current, move)
    verb = "ask" if ask else move.action
    detail = {"move": move.id, "version": move.version.number}
    record(session, principal, f"model.{verb}", project, f"{move.model.name}@{move.alias}", **detail)
    return move


def _move(
    model: Model, alias: str, version: ModelVersion, action: str, before: int | None, principal: Principal, note: str
) -> AliasMove:
    return AliasMove(
        model=model,
        alias=alias,
        version=version,
        before_id=before,
        action=action,
        state="pending",
        note=note,
        asked_by=principal.name,
    )


def _decide(move: AliasMove, principal: Principal, state: str) -> None:
    move.state, move.decided_by, move.decided_at = state, principal.name, now()


def _point(session: Any, current: ModelAlias | None, move: AliasMove) -> None:
    """The alias points to the version of the move from now on. A move that waited follows what happened meanwhile."""
    if current is None:
        session.add(ModelAlias(model_id=move.model_id, name=move.alias, move_id=move.id))
    else:
        if move.action == "move":
            move.before_id = current.move_id
        current.move_id = move.id


def _locked(session: Any, model: Model, alias: str) -> ModelAlias | None:
    """Where the alias points; the model is held for this transaction, so that an alias is made once."""
    session.execute(select(Model.id).where(Model.id == model.id).with_for_update())
    found: ModelAlias | None = session.get(ModelAlias, (model.id, alias))
    return found


def _is_guarded(session: Any, project: Project, alias: str) -> bool:
    return session.get(GuardedAlias, (project.id, alias)) is not None


def _pending(session: Any, model: Model, alias: str) -> list[AliasMove]:
    query = select(AliasMove).where(AliasMove.model_id == model.id, AliasMove.alias == alias)
    return list(session.scalars(query.where(AliasMove.state == "pending")))


def _require_none_pending(session: Any, model: Model, alias: str) -> None:
    for move in _pending(session, model, alias):
        raise ConflictError(
            f'{move.asked_by} asks already to move "{alias}" to version {move.version.number}; an owner decides: '
            f"celesta models approve {model.name} {move.id}, or refuse"
        )
