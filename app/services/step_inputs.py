"""What the inputs of some steps were, for `step_query`. Writes nothing.

The record of a step has the digests of its inputs only. Their values are found where they came from: a constant of the
plan, an input of the run, an artifact of the project, or the element of a list that an item of a map was given.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import func, select

from app.compiler.plan import Plan
from app.models import INSIDE, Artifact, Run, Step
from app.services.session import Session
from celesta.codecs import items, preview
from celesta.store import Store

Document = dict[str, Any]


def told(ref: Document) -> Document:
    return {"digest": ref["digest"], "type": ref["type"], "preview": preview(ref)}


class StepInputs:
    """Two statements for any number of steps. Without a store the elements of long lists stay digests."""

    def __init__(self, session: Session, run: Run, plan: Plan, steps: Sequence[Step], store: Store | None) -> None:
        self._run, self._plan, self._store = run, plan, store
        digests = {digest for step in steps for digest in (step.input_digests or {}).values()}
        self._artifacts = _artifacts(session, run, digests)
        self._lists = _outputs(session, run, {index for step in steps for index in self._sources(step).values()})

    def of(self, step: Step) -> Document:
        """The inputs of a step by name, as the REST interface tells them."""
        known = {ref["digest"]: ref for ref in _with_elements(self._constants(step))}
        known |= {ref["digest"]: ref for ref in self._elements(step)}
        return {name: self._told(digest, known.get(digest)) for name, digest in (step.input_digests or {}).items()}

    def _told(self, digest: str, known: Document | None) -> Document:
        artifact_id, made = self._artifacts.get(digest, (None, None))
        ref = known or made
        return (told(ref) if ref else {"digest": digest, "type": None, "preview": None}) | {"artifact": artifact_id}

    def _bindings(self, step: Step) -> Document:
        own = "/" not in step.node and step.position < len(self._plan)
        return self._plan.bindings(step.position) if own else {}

    def _constants(self, step: Step) -> Iterable[Document]:
        yield from (self._run.inputs or {}).values()
        yield from (binding["value"] for binding in self._bindings(step).values() if "value" in binding)

    def _sources(self, step: Step) -> dict[str, int]:
        """For an item of a map: the steps whose lists it was given an element of, by input."""
        mapped = set(self._plan.mapped(step.position) or ()) if 0 <= step.item < INSIDE else set()
        bindings = self._bindings(step).items()
        return {name: binding["step"] for name, binding in bindings if name in mapped and "step" in binding}

    def _elements(self, step: Step) -> Iterable[Document]:
        for name, index in self._sources(step).items():
            ref = self._lists.get(index, {}).get(self._bindings(step)[name]["output"])
            if ref and ref.get("type") == "list" and ("items" in ref or self._store is not None):
                yield from items(ref, self._store)[step.item : step.item + 1]


def _artifacts(session: Session, run: Run, digests: set[str]) -> dict[str, tuple[int, Document]]:
    if not digests:
        return {}
    wanted = Artifact.project_id == run.project_id, Artifact.digest.in_(digests)
    first = select(func.min(Artifact.id)).where(*wanted).group_by(Artifact.digest)  # a cached value is in every run
    query = select(Artifact.digest, Artifact.id, Artifact.ref).where(Artifact.id.in_(first))
    return {digest: (artifact_id, ref) for digest, artifact_id, ref in session.execute(query)}


def _outputs(session: Session, run: Run, positions: set[int]) -> dict[int, Document]:
    if not positions:
        return {}
    query = select(Step.position, Step.outputs).where(Step.run_id == run.id, Step.item == -1)
    return {position: outputs or {} for position, outputs in session.execute(query.where(Step.position.in_(positions)))}


def _with_elements(refs: Iterable[Document]) -> Iterable[Document]:
    for ref in refs:
        yield ref
        yield from ref.get("items", ())
