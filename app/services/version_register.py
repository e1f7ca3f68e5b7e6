"""Registers a version of a workflow: checks the spec, compiles it once, stores both, makes it the active version.

What is recorded beside the spec (commit, environment, who and when) is that of the first registration.
"""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app.access import Principal, require
from app.compiler import compile_plan
from app.compiler.schema import load_spec
from app.config import Config
from app.db import writing
from app.models import Project, Version, Workflow
from app.services import blob_access
from app.services.audit import record
from app.services.executor_check import require_known_executors
from app.services.pod_check import require_templates_of_spec
from app.services.refs import values_in
from app.services.version_activate import is_chosen, mark_active
from app.services.version_link import link_references
from celesta.codecs import verify
from celesta.codecs.presence import missing_of
from celesta.codecs.reach import blobs_of
from celesta.errors import MissingBlobs, Problem, SpecError, StoreError
from celesta.hashing import canonical, document_digest
from celesta.spec import spec_digest
from celesta.store import Store

Document = dict[str, Any]
MOST_PROBLEMS = 20


@dataclass(frozen=True)
class Registered:
    """`created` is False when the project had this version already. `label_left` is the version that the label named
    until now, None when it named no other."""

    version: Version
    workflow: Workflow
    created: bool
    label_left: str | None

    @property
    def active(self) -> bool:
        return self.workflow.active_version_id == self.version.id


@dataclass(frozen=True)
class Prepared:
    """A version whose spec was checked and whose spec and plan are stored; nobody sees it before `added`."""

    spec: Document
    digest: str
    blobs: tuple[str, str]


def register_version(
    session: Any,
    store: Store,
    principal: Principal,
    project: Project,
    spec: Document,
    label: str | None = None,
    activate: bool = True,
    config: Config | None = None,
) -> Registered:
    """Idempotent: the same spec is the same version. A label leaves the version that it named for this one. Without
    `activate` it becomes the active one only while nobody has chosen another by activating it or rolling back to it.
    With `config`, what could not be launched in this deployment is refused here already.

    Raises `SpecError` with all problems, or `MissingBlobs`.
    """
    ready = prepared(session, store, principal, project, spec, config=config)

    def commit() -> Registered:
        with writing(session):
            return added(session, principal, project, ready, label, activate)

    try:
        return commit()
    except IntegrityError:  # the same name or the same version was registered by somebody in this very moment
        return commit()


def prepared(
    session: Any,
    store: Store,
    principal: Principal,
    project: Project,
    spec: Document,
    brought: Collection[str] = (),
    config: Config | None = None,
) -> Prepared:
    """Checks a spec, links and compiles it. `brought` are blobs that came along with it; others that it names have to
    be some that the principal may read. Raises as `register_version`."""
    require(principal, "editor", project)
    load_spec(spec)
    require_known_executors(spec)
    own, linked = spec, link_references(session, store, principal, project, spec)
    if linked is not spec:
        spec = load_spec(linked)
    if config is not None:
        require_templates_of_spec(spec, config, project.name)
    digest = spec_digest(spec)
    known = session.scalars(_of_digest(project, digest)).one_or_none()
    if known is not None:
        return Prepared(spec, digest, (known.spec_blob, known.plan_blob))
    _require_readable(session, store, principal, own, brought)
    missing = _missing(store, spec)
    if missing:
        raise MissingBlobs(missing)
    _require_true_constants(store, spec)
    # Stored before the row that names them: a row without its plan could not run.
    blobs = store.put_blob(canonical(spec)), store.put_blob(canonical(compile_plan(spec)))
    return Prepared(spec, digest, blobs)


def added(
    session: Any, principal: Principal, project: Project, ready: Prepared, label: str | None, activate: bool
) -> Registered:
    """Adds the rows of a version, inside of `writing`. `IntegrityError`: somebody did in this very moment."""
    workflow = _workflow(session, project, ready.spec)
    version = session.scalars(_of_digest(project, ready.digest)).one_or_none()
    created = version is None
    if version is None:
        version = _version(project, workflow, ready.spec, ready.digest, ready.blobs, principal)
        session.add(version)
    session.flush()
    left = _name(session, version, label) if label else None
    if activate or not is_chosen(session, workflow):
        mark_active(session, workflow, version, "register", principal.name)
    told = f"{workflow.name}@{ready.digest[:12]}"
    labelled = {name: text for name, text in (("label", label), ("label_left", left)) if text}
    record(session, principal, "version.register", project, told, created=created, **labelled)
    return Registered(version, workflow, created, left)


def _name(session: Any, version: Version, label: str) -> str | None:
    """Gives a version the label, which names no other of its workflow from now on. The digest of the one it left."""
    holds = Version.workflow_id == version.workflow_id, Version.label == label, Version.id != version.id
    other = session.scalars(select(Version).where(*holds)).one_or_none()
    if other is not None:
        other.label = None
        session.flush()  # before the other row gets it: a label is there once
    version.label = label
    session.flush()
    return other.digest if other else None


def _of_digest(project: Project, digest: str) -> Any:
    return select(Version).where(Version.project_id == project.id, Version.digest == digest)


def _workflow(session: Any, project: Project, spec: Document) -> Workflow:
    query = select(Workflow).where(Workflow.project_id == project.id, Workflow.name == spec["name"])
    workflow: Workflow | None = session.scalars(query.with_for_update()).one_or_none()
    if workflow is None:
        workflow = Workflow(project_id=project.id, name=spec["name"], kind=_kind(spec))
        session.add(workflow)
        session.flush()
    workflow.kind = _kind(spec)
    return workflow


def _kind(spec: Document) -> str:
    """A single task is registered as a workflow of one step with the task's name."""
    steps = spec["steps"]
    alone = len(steps) == 1 and steps[0].get("task") == steps[0]["path"] == spec["name"] and not steps[0].get("map")
    return "task" if alone else "workflow"


def _version(
    project: Project, workflow: Workflow, spec: Document, digest: str, blobs: tuple[str, str], principal: Principal
) -> Version:
    return Version(
        project_id=project.id,
        workflow_id=workflow.id,
        digest=digest,
        label=None,
        spec_blob=blobs[0],
        plan_blob=blobs[1],
        bundle=spec["bundle"],
        interface=spec["interface"],
        step_count=len(spec["steps"]),
        git=spec.get("git"),
        environment=_environment(spec),
        created_by=principal.name,
    )


def _environment(spec: Document) -> Document:
    """What tells at a glance whether two versions were made in the same environment."""
    found = spec.get("environment") or {}
    packages = found.get("packages") or {}
    images = {task["image"] for task in spec["tasks"].values() if task.get("image")}
    images |= {step["options"]["image"] for step in spec["steps"] if (step.get("options") or {}).get("image")}
    return {
        "python": found.get("python") or spec.get("python"),
        "platform": found.get("platform"),
        "lock": document_digest(packages) if packages else None,
        "packages": len(packages),
        "images": sorted(images),
    }


def _missing(store: Store, spec: Document) -> list[str]:
    """The blobs of a spec that the store does not have."""
    return sorted(missing_of({*_blobs(spec)}, lambda digest: blob_access.keep(store, digest)))


def _require_true_constants(store: Store, spec: Document) -> None:
    """A constant under a false digest would be found in the cache as another. Its blobs are there already."""
    present = set(_blobs(spec))
    seen: set[int] = set()
    problems: list[Problem] = []
    for where, ref in _constants(spec):
        if id(ref) not in seen and len(problems) < MOST_PROBLEMS:
            seen.add(id(ref))
            problems += verify(ref, store, where, present)
    if problems:
        raise SpecError("the spec holds values that are not what they say", problems)


def _require_readable(
    session: Any, store: Store, principal: Principal, spec: Document, brought: Collection[str]
) -> None:
    """Bytes of others are missing here: whoever has them puts them. A listing of one's own may name some as well."""
    projects = blob_access.projects_of(principal)
    missing = blob_access.without_access(session, projects, set(_blobs(spec)).difference(brought))
    if not missing:
        refs = [ref for _, ref in _constants(spec)]
        with contextlib.suppress(StoreError):  # what is not there at all is told of by name below
            missing = blob_access.foreign(session, projects, store, refs, brought)
    if missing:
        raise MissingBlobs(sorted(missing))


def _blobs(spec: Document) -> Iterator[str]:
    bundles = {spec["bundle"], *(task.get("bundle") for task in spec["tasks"].values())}
    yield from (bundle for bundle in bundles if bundle)
    for _, ref in _constants(spec):
        yield from blobs_of(ref)


def _constants(spec: Document) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every value that stands in a spec, with where it stands."""
    interfaces = {"interface": spec["interface"]}
    interfaces |= {f"tasks.{name}.interface": task["interface"] for name, task in spec["tasks"].items()}
    for where, interface in interfaces.items():
        for port in interface["inputs"]:
            if port.get("default") is not None:
                yield f"{where}.inputs.{port['name']}.default", port["default"]
    for step in spec["steps"]:
        for name, binding in step["inputs"].items():
            for ref in values_in([binding]):
                yield f"steps.{step['path']}.inputs.{name}", ref
        default = ((step.get("options") or {}).get("answer") or {}).get("default")
        if default is not None:
            yield f"steps.{step['path']}.options.answer.default", default
    for name, binding in spec["outputs"].items():
        for ref in values_in([binding]):
            yield f"outputs.{name}", ref
