"""Registers an artifact as the next version of a model, which is made with its first version."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from app.access import Principal, require
from app.db import writing
from app.models import Artifact, Model, ModelVersion, Project, Run
from app.services import metric_query
from app.services.audit import record
from app.services.model_find import check_name
from app.services.step_flow import Flow, flow_of
from app.services.workflow_query import load_plan
from celesta.errors import InputError, Problem
from celesta.store import Store


@dataclass(frozen=True)
class RegisteredModel:
    """`created` is False when the model had this artifact as its newest version already."""

    version: ModelVersion
    created: bool


def register_model(
    session: Any,
    store: Store,
    principal: Principal,
    project: Project,
    name: str,
    artifact: Artifact,
    *,
    notes: str = "",
    metrics: Mapping[str, float] | None = None,
) -> RegisteredModel:
    """Idempotent for the newest version. Its metrics are those that the run measured of it, and those given.

    Raises `InputError` for a bad name.
    """
    require(principal, "editor", project)
    check_name(name, "name")
    run = session.get(Run, artifact.run_id)
    measured = {**_measured(session, store, run, artifact), **(metrics or {})}
    with writing(session, f'somebody registered a version of "{name}" in this moment; try again'):
        model = _model(session, principal, project, name)
        newest = session.scalars(
            select(ModelVersion).where(ModelVersion.model_id == model.id).order_by(ModelVersion.number.desc()).limit(1)
        ).one_or_none()
        if newest is not None and newest.artifact_id == artifact.id:
            newest.notes, newest.metrics = notes or newest.notes, {**newest.metrics, **measured}
            return RegisteredModel(newest, False)
        version = ModelVersion(
            model_id=model.id,
            number=newest.number + 1 if newest else 1,
            artifact_id=artifact.id,
            run_id=artifact.run_id,
            path=artifact.path,
            output=artifact.name,
            digest=artifact.digest,
            ref=artifact.ref,
            metrics=measured,
            notes=notes,
            created_by=principal.name,
        )
        session.add(version)
        record(session, principal, "model.register", project, f"{name}@{version.number}", artifact=artifact.id)
    return RegisteredModel(version, True)


def output_of(session: Any, store: Store, run: Run, output: str | None) -> Artifact:
    """The artifact behind an output of a run: of its only file when no name is given. Raises `InputError`.

    The step that the output is bound to made it; one that was taken apart or put together is known by its digest.
    """
    outputs = run.outputs or {}
    files = [name for name, ref in outputs.items() if ref["type"] in ("file", "directory", "pickle")]
    name = output or (files[0] if len(files) == 1 else None) or (next(iter(outputs)) if len(outputs) == 1 else None)
    if name not in outputs:
        known = ", ".join(outputs) or "none"
        what = f'has no output "{output}"' if output else "has several outputs; say which"
        raise InputError([Problem("output", f"the run {run.id} {what}; there are: {known}")])
    query = select(Artifact).where(Artifact.run_id == run.id, Artifact.digest == outputs[name]["digest"])
    bound = str(load_plan(store, run.version.plan_blob).outputs.get(name, {}).get("step"))
    found: Artifact | None = session.scalars(
        query.order_by(Artifact.node != bound, Artifact.id.desc()).limit(1)
    ).one_or_none()
    if found is None:
        raise InputError([Problem("output", f'"{name}" of the run {run.id} was made by no step of it')])
    return found


def _model(session: Any, principal: Principal, project: Project, name: str) -> Model:
    """Held for this transaction alone: two registrations at once get two numbers."""
    query = select(Model).where(Model.project_id == project.id, Model.name == name).with_for_update()
    model: Model | None = session.scalars(query).one_or_none()
    if model is None:
        model = Model(project_id=project.id, name=name, created_by=principal.name)
        session.add(model)
        session.flush()
    return model


def _measured(session: Any, store: Store, run: Run, artifact: Artifact) -> dict[str, float]:
    """What the step that made it and the steps after that logged last, as `path.name`."""
    flow = flow_of(load_plan(store, run.version.plan_blob))
    paths = {artifact.path, *_after(flow, artifact)}
    values = metric_query.last_values(session, run)
    return {
        f"{path}.{name}": value
        for path, metrics in values.items()
        if path in paths
        for name, value in metrics.items()
        if value is not None
    }


def _after(flow: Flow, artifact: Artifact) -> set[str]:
    """The paths of the steps of the run that took the artifact, or what was made of it."""
    if not flow.knows(artifact.node):
        return set()
    seen: set[str] = set()
    front = [(artifact.node, artifact.name)]
    while front:
        node, output = front.pop()
        for use, _ in flow.takers(node, output):
            if use.node not in seen:
                seen.add(use.node)
                front.append((use.node, ""))
    return {flow.path(node) for node in seen}
