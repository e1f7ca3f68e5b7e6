"""How the steps of whole runs ended, as little of each as comparing runs takes: one short row for a step.

Called by `run_diff` and `reproduction_query`. Two statements for a run of any size. Writes nothing.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import DateTime, bindparam, select, type_coerce

from app.compiler.plan import Plan
from app.models import Artifact, Run, Step
from app.services.moments import seconds_between
from app.services.session import Session

MADE = ("succeeded", "cached")
NOTHING: Mapping[str, Any] = MappingProxyType({})
Value = tuple[str, str]
"""Type and digest."""
Refs = Mapping[tuple[str, str], dict[str, Any]]
"""References by node and name of the output."""


_MADE = select(Artifact.node, Artifact.name, Artifact.type, Artifact.digest).where(Artifact.run_id == bindparam("run"))
_ENDED = select(
    Step.node,
    Step.path,
    Step.position,
    Step.item,
    Step.state,
    Step.width,
    Step.source.is_not(None),
    Step.environment,
    *(type_coerce(moment, DateTime()) for moment in (Step.started_at, Step.finished_at)),
).where(Step.run_id == bindparam("run"))


class Outcome(NamedTuple):
    """One step of one run; `place` is its order: index in the plan, item of a map. `hit`: the cache answered it."""

    run_id: str
    node: str
    path: str
    place: tuple[int, int]
    state: str
    width: int | None
    hit: bool
    environment: str | None
    started_at: datetime | None
    finished_at: datetime | None
    outputs: Mapping[str, Value]

    @property
    def made(self) -> bool:
        return self.state in MADE

    @property
    def duration_seconds(self) -> float | None:
        return seconds_between(self.started_at, self.finished_at)


def of_run(session: Session, run: Run) -> dict[str, Outcome]:
    """Outcome by path."""
    connection = session.connection()  # rows as they come: objects and moments of ours cost twice the time
    outputs: dict[str, dict[str, Value]] = {}
    for node, name, kind, digest in connection.execute(_MADE, {"run": run.id}).all():
        outputs.setdefault(node, {})[name] = (kind, digest)
    rows: Sequence[Any] = connection.execute(_ENDED, {"run": run.id}).all()
    return {
        path: Outcome(
            run.id, node, path, (position, item), state, width, hit, lock, began, ended, outputs.get(node, NOTHING)
        )
        for node, path, position, item, state, width, hit, lock, began, ended in rows
    }


def in_order(plan: Plan, outcomes: Iterable[Outcome]) -> list[Outcome]:
    """A step after all that it depends on: so the first of these that differs is where two runs part."""
    rank = _ranks(plan)
    return sorted(outcomes, key=lambda outcome: (rank.get(outcome.place[0], len(rank)), outcome.place))


@lru_cache(maxsize=32)
def _ranks(plan: Plan) -> Mapping[int, int]:
    """The place of each step in an order in which all that it depends on comes first.

    Kahn, 1962: of the steps that may be next, the earliest in the plan.
    """
    need, ready, order = list(plan.need), [index for index, count in enumerate(plan.need) if not count], []
    while ready:
        following: list[int] = []
        for index in ready:
            order.append(index)
            for child in plan.children[index]:
                need[child] -= 1
                if not need[child]:
                    following.append(child)
        ready = sorted(following)
    return {index: place for place, index in enumerate(order)}


def inputs_of(session: Session, outcome: Outcome) -> dict[str, str]:
    """The digest of each input of a step."""
    query = select(Step.input_digests).where(Step.run_id == outcome.run_id, Step.node == outcome.node)
    return session.scalar(query) or {}


def changed_outputs(before: Outcome, after: Outcome) -> list[str]:
    """The names of the outputs that are not the same value, or are in one of the two only."""
    if before.outputs == after.outputs:
        return []
    names = {**before.outputs, **after.outputs}
    return [name for name in names if before.outputs.get(name) != after.outputs.get(name)]


def refs_of(session: Session, outcomes: Collection[Outcome]) -> Refs:
    """The reference of each output of some steps of one run."""
    if not outcomes:
        return {}
    run_id, nodes = next(iter(outcomes)).run_id, [outcome.node for outcome in outcomes]
    query = select(Artifact.node, Artifact.name, Artifact.ref)
    rows = session.execute(query.where(Artifact.run_id == run_id, Artifact.node.in_(nodes)))
    return {(node, name): ref for node, name, ref in rows}


def environments(befores: Mapping[str, Outcome], afters: Mapping[str, Outcome]) -> dict[tuple[str, str], str]:
    """The pairs of environments of steps of the same path, where they are not the same, each with the first path."""
    found: dict[tuple[str, str], str] = {}
    for path, before in befores.items():
        after = afters.get(path)
        if after is not None and before.environment and after.environment and before.environment != after.environment:
            found.setdefault((before.environment, after.environment), path)
    return found
