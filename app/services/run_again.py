"""Runs a version again on the ground of an earlier run, and tells before what that would do.

`recover` goes on where the run failed; `rerun` begins anew: whole, from chosen steps, or with other inputs; `reproduce`
computes every step anew, and `reproduction_query` tells what came of it.

The new run is a run of its own, which tells its origin. What it takes over is settled at its start, as answered by the
step of the earlier run.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.access import Principal, require
from app.compiler.plan import Plan
from app.config import Config
from app.models import Project, Run
from app.services.run_inputs import NUMBERS, OPTIONS, RUN_OPTIONS, bind_inputs, wrong_options
from app.services.run_launch import Origin, launch_run
from app.services.run_reuse import preview
from app.services.workflow_query import load_plan
from celesta.errors import ConflictError, InputError, Problem
from celesta.nearest import nearest
from celesta.store import Store

Document = dict[str, Any]


@dataclass(frozen=True)
class Again:
    """What is asked of the new run."""

    kind: str
    inputs: Document = field(default_factory=dict)
    """Plain values, and references, that take the place of the earlier run's."""
    input_refs: Document = field(default_factory=dict)
    steps: Collection[str] = ()
    """Paths of steps that run anew, and do not look into the cache; what is below them runs too. That of a workflow
    which was called inside stands for all of its steps."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of a run that take the place of the earlier run's; the others are as they were there. One of those of the
    cache takes the place of both."""


def recover(options: Mapping[str, Any] | None = None) -> Again:
    """The same version and inputs; what succeeded is taken over, even when it is not cached."""
    return Again("recover", options=options or {})


def rerun(
    inputs: Document | None = None,
    input_refs: Document | None = None,
    steps: Collection[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Again:
    """The same version; what neither a changed input nor a chosen step affects is taken over. Without any: nothing."""
    return Again("rerun", inputs or {}, input_refs or {}, steps, options or {})


def reproduce() -> Again:
    """The same version and inputs; nothing is read from the cache, and nothing is left in it."""
    return Again("reproduction")


def preview_again(
    session: Any, store: Store, principal: Principal, project: Project, run: Run, asked: Again
) -> Document:
    """What the new run would do, without making it. Raises as `run_again`."""
    require(principal, "viewer", project)
    _, options = _decided(store, run, asked)
    return preview(session, run, load_plan(store, run.version.plan_blob), asked.kind, options)


def run_again(
    session: Any,
    config: Config,
    store: Store,
    principal: Principal,
    project: Project,
    run: Run,
    asked: Again,
    idempotency_key: str | None = None,
) -> Run:
    """The new run, queued.

    Raises `ConflictError` while the earlier run has not ended (or, to be recovered, when it succeeded), and
    `InputError` for inputs and options that are wrong, inputs that are not changed, and steps that it does not have.
    """
    refs, options = _decided(store, run, asked)
    return launch_run(
        session,
        config,
        store,
        principal,
        project,
        workflow=run.workflow_name,
        version=run.version.digest,
        input_refs=refs,
        options=_chosen(options, RUN_OPTIONS),
        idempotency_key=idempotency_key,
        origin=Origin(run.id, asked.kind, _chosen(options, ("again", "changed"))),
    )


def _decided(store: Store, run: Run, asked: Again) -> tuple[Document, Document]:
    """The inputs and the options of the new run."""
    _require_end(run, asked.kind)
    if asked.kind == "reproduction":
        return run.inputs, _chosen(run.options, NUMBERS) | {"no_cache": True}
    options = _chosen(run.options, NUMBERS if {*OPTIONS} & {*asked.options} else RUN_OPTIONS) | dict(asked.options)
    problems = list(wrong_options(asked.options))
    if asked.kind == "recover":
        _refuse(run, problems)
        return run.inputs, options | {"again": []}
    steps, unknown = _steps(load_plan(store, run.version.plan_blob), asked.steps)
    problems += unknown
    refs = dict(run.inputs)
    try:
        kept = {name: ref for name, ref in run.inputs.items() if name not in {**asked.inputs, **asked.input_refs}}
        refs = bind_inputs(run.version.interface, asked.inputs, {**kept, **asked.input_refs}, {}, store)
    except InputError as error:
        problems += error.problems
    changed = sorted(name for name in refs if refs[name]["digest"] != run.inputs.get(name, {}).get("digest"))
    if (asked.inputs or asked.input_refs) and not (changed or asked.steps or problems):
        names = ", ".join(sorted({**asked.inputs, **asked.input_refs}))
        problems.append(Problem(names, "is what the run had already; change it, or name the steps to run from"))
    _refuse(run, problems)
    if asked.steps or changed:
        options |= {"again": steps, "changed": changed}
    return refs, options


def _chosen(options: Mapping[str, Any], names: Collection[str]) -> Document:
    return {name: options[name] for name in names if name in options}


def _refuse(run: Run, problems: list[Problem]) -> None:
    if problems:
        raise InputError(f"the run {run.id} cannot be run again like this", problems)


def _require_end(run: Run, kind: str) -> None:
    if run.recorded_at is None:
        raise ConflictError(
            f"run {run.id} is still {run.status}: wait for its end (celesta runs watch {run.id}), or cancel it before"
        )
    if kind == "recover" and run.status == "succeeded":
        raise ConflictError(
            f"run {run.id} succeeded, so there is nothing to recover; run it again with celesta runs rerun {run.id}"
        )


def _steps(plan: Plan, names: Collection[str]) -> tuple[list[str], list[Problem]]:
    """The paths of the steps that these names stand for, and what is wrong with the others."""
    found: set[str] = set()
    problems = []
    for name in names:
        stands_for = [name] if name in plan.paths else [path for path in plan.paths if path.startswith(f"{name}/")]
        found.update(stands_for)
        if not stands_for:
            problems.append(Problem("from", f'there is no step "{name}" to run from; {_advice(plan, name)}'))
    return sorted(found), problems


def _advice(plan: Plan, name: str) -> str:
    above = [name[:end] for end, sign in enumerate(name) if sign in "/[" and name[:end] in plan.paths]
    if not above:
        return nearest(name, plan.paths, "its steps are")
    whole = above[-1]
    index = plan.paths[whole]
    if plan.mapped(index) is None and plan.task(index)["kind"] != "dynamic":
        return f'did you mean "{whole}"?'
    return f'it lies below "{whole}", which runs as a whole: run from {whole}'
