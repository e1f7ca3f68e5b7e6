"""Finds a model, one of its versions or an alias by what people call them; what is not there names the nearest."""

import re
from typing import Any

from sqlalchemy import func, select

from app.models import Model, ModelAlias, ModelVersion, Project
from celesta.errors import InputError, NotFoundError, Problem
from celesta.nearest import nearest

NUMBER = re.compile(r"v?(\d{1,9})\Z")
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}\Z", re.ASCII)
NAMED = 1_000


def find_model(session: Any, project: Project, name: str) -> Model:
    """Raises `NotFoundError`."""
    query = select(Model).where(Model.project_id == project.id, Model.name == name)
    found: Model | None = session.scalars(query).one_or_none()
    if found is None:
        names = session.scalars(
            select(Model.name).where(Model.project_id == project.id).order_by(Model.name).limit(NAMED)
        )
        raise NotFoundError(
            f'there is no model "{name}" in project "{project.name}"; {nearest(name, names, "registered are")}'
        )
    return found


def find_model_version(session: Any, model: Model, name: str) -> ModelVersion:
    """The version of a number (`3`, `v3`) or of an alias (`production`). Raises `NotFoundError`."""
    query = select(ModelVersion).where(ModelVersion.model_id == model.id)
    number = NUMBER.match(name)
    if number:
        version: ModelVersion | None = session.scalars(query.where(ModelVersion.number == int(number[1]))).one_or_none()
        if version is None:
            last = session.scalar(select(func.max(ModelVersion.number)).where(ModelVersion.model_id == model.id)) or 0
            raise NotFoundError(f'model "{model.name}" has no version {number[1]}; its newest is {last}')
        return version
    return find_alias(session, model, name).move.version


def find_alias(session: Any, model: Model, alias: str) -> ModelAlias:
    """Raises `NotFoundError`."""
    found: ModelAlias | None = session.get(ModelAlias, (model.id, alias))
    if found is None:
        names = session.scalars(
            select(ModelAlias.name).where(ModelAlias.model_id == model.id).order_by(ModelAlias.name)
        )
        raise NotFoundError(f'model "{model.name}" has no alias "{alias}"; {nearest(alias, names, "its aliases are")}')
    return found


def check_name(name: str, where: str) -> None:
    """Raises `InputError` for what is no name of a model or an alias; an alias may not look like a version."""
    if not NAME.match(name):
        raise InputError([Problem(where, f"{name!r} wants 1 to 100 letters, digits, dots, hyphens and underscores")])
    if where == "alias" and NUMBER.match(name):
        raise InputError([Problem(where, f"{name!r} would be taken for the number of a version")])
