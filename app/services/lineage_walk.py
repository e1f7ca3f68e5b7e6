"""Where a value came from and what became of it: a walk over steps, up or down, across runs and projects.

Three kinds of edge, each from earlier to later, so that a walk cannot come back to where it was:
- `value`: inside a run, from the step that made a value to one that took it, as the plan says;
- `cache`: from the step that computed a value to one that the cache answered with it;
- `run`: across runs, from the step that first made a value to one of a later run that was launched with it.
A short JSON value is met by chance, so it makes no edge across runs. Steps of projects that the caller may not see are
left out. Called by `lineage_query`. A few statements for each level, whatever the number of its steps. Writes nothing.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import func, select, tuple_

from app.models import INSIDE, Artifact, Lineage, Project, Run, RunInput, Step, Version, Workflow
from app.services.refs import is_telling
from app.services.session import Session
from app.services.step_flow import Flow, Use, flow_of
from app.services.workflow_query import load_plan
from celesta.store import Store

MOST_STEPS = 1_000
CHUNK = 500
Document = dict[str, Any]


class Key(NamedTuple):
    run_id: str
    node: str


class Edge(NamedTuple):
    source: Key
    target: Key
    kind: str
    output: str = ""
    input: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A step on the way, with what is known of its run."""

    key: Key
    path: str
    task: str
    position: int
    state: str
    width: int | None
    cache_key: str | None
    source: Document | None
    finished_at: datetime | None
    project: str
    workflow: str
    version: str
    plan_blob: str
    created_by: str
    launched_at: datetime
    run_inputs: Document


@dataclass
class Walker:
    session: Session
    store: Store
    projects: Collection[int]
    most: int
    levels: dict[Key, int] = field(default_factory=dict)
    edges: dict[Edge, None] = field(default_factory=dict)
    _found: dict[Key, Found | None] = field(default_factory=dict)
    _flows: dict[str, Flow] = field(default_factory=dict)

    def go(self, root: Key, output: str, down: bool, depth: int | None) -> bool:
        """Walks level by level; whether there was more than it may show."""
        self.levels[root], level, front = 0, 0, [root]
        while front and (depth is None or level < depth):
            steps = [found for key in front if (found := self._found.get(key))]
            edges = list(self._down(steps, output if level == 0 else "") if down else self._up(steps))
            self.load({edge.source for edge in edges} | {edge.target for edge in edges})
            level, front = level + 1, []
            for edge in edges:
                ahead = edge.target if down else edge.source
                if not self._found.get(ahead):
                    continue
                if ahead not in self.levels:
                    if len(self.levels) >= self.most:
                        return True
                    self.levels[ahead] = level
                    front.append(ahead)
                self.edges[edge] = None
        return False

    def found(self) -> Iterator[tuple[Found, int]]:
        for key, level in self.levels.items():
            step = self._found.get(key)
            if step:
                yield step, level

    def load(self, keys: Iterable[Key]) -> None:
        """What the caller may see of these steps, in one statement for every 500."""
        wanted = [key for key in keys if key not in self._found]
        self._found |= dict.fromkeys(wanted)
        for part in chunks(wanted):
            query = _steps().where(tuple_(Step.run_id, Step.node).in_(part), Run.project_id.in_(self.projects))
            for run_id, node, *rest in self.session.execute(query):
                self._found[Key(run_id, node)] = Found(Key(run_id, node), *rest)

    def flow(self, step: Found) -> Flow:
        return self._flow_of(step.plan_blob)

    def _flow_of(self, plan_blob: str) -> Flow:
        if plan_blob not in self._flows:
            self._flows[plan_blob] = flow_of(load_plan(self.store, plan_blob))
        return self._flows[plan_blob]

    # Up: what a step was made of

    def _up(self, steps: list[Found]) -> Iterator[Edge]:
        self.load(_source(step) for step in steps if step.source)
        given: list[tuple[Found, str, Document]] = []
        for step in steps:
            if step.source and self._found.get(_source(step)):
                yield Edge(_source(step), step.key, "cache")
                continue  # what it was made of is told by the step that made it
            flow = self.flow(step)
            if not flow.knows(step.key.node):
                continue
            for use in flow.taken(step.key.node):
                yield Edge(Key(step.key.run_id, use.node), step.key, "value", use.output, use.input)
            given += [
                (step, name, ref)
                for name, outer in flow.given(step.key.node)
                if (ref := step.run_inputs.get(outer)) and is_telling(ref)
            ]
        yield from self._items([step for step in steps if step.width is not None])
        yield from self._makers(given)
        yield from self._inside([step for step in steps if not self.flow(step).knows(step.key.node)])

    def _items(self, maps: list[Found]) -> Iterator[Edge]:
        """A map gathers what its items made."""
        for step in maps:
            for node in self._item_nodes(step.key.run_id, step.position):
                yield Edge(Key(step.key.run_id, node), step.key, "value", "", "")

    def _item_nodes(self, run_id: str, position: int) -> list[str]:
        query = select(Step.node).where(Step.run_id == run_id, Step.position == position, Step.item >= 0)
        query = query.where(Step.item < INSIDE)
        return list(self.session.scalars(query.order_by(Step.item).limit(self.most + 1)))

    def _makers(self, given: list[tuple[Found, str, Document]]) -> Iterator[Edge]:
        """The first artifact of each value, when it was there before the run was launched."""
        first = (
            select(func.min(Artifact.id))
            .where(Artifact.project_id.in_(self.projects), Artifact.digest.in_({ref["digest"] for *_, ref in given}))
            .group_by(Artifact.digest)
        )
        columns = Artifact.digest, Artifact.run_id, Artifact.node, Artifact.name, Artifact.created_at
        rows = self.session.execute(select(*columns).where(Artifact.id.in_(first))).all() if given else []
        makers = {digest: (Key(run_id, node), name, at) for digest, run_id, node, name, at in rows}
        for step, name, ref in given:
            maker = makers.get(ref["digest"])
            if maker and maker[0].run_id != step.key.run_id and maker[2] <= step.launched_at:
                yield Edge(maker[0], step.key, "run", maker[1], name)

    def _inside(self, steps: list[Found]) -> Iterator[Edge]:
        """Steps of a plan that another step opened: their makers are known by what they took, and when."""
        for part in chunks(steps):
            by_key = {step.key: step for step in part}
            columns = Lineage.run_id, Lineage.node, Lineage.name, Artifact.node, Artifact.name, Artifact.created_at
            query = select(*columns).join(
                Artifact, (Artifact.run_id == Lineage.run_id) & (Artifact.digest == Lineage.digest)
            )
            for run_id, node, name, maker, output, at in self.session.execute(
                query.where(tuple_(Lineage.run_id, Lineage.node).in_(by_key))
            ):
                step = by_key[Key(run_id, node)]
                if maker != node and step.finished_at and at < step.finished_at:
                    yield Edge(Key(run_id, maker), step.key, "value", output, name)

    # Down: what was made of a step

    def _down(self, steps: list[Found], output: str) -> Iterator[Edge]:
        for step in steps:
            flow = self.flow(step)
            if flow.knows(step.key.node):
                for use, is_map in flow.takers(step.key.node, output):
                    yield from self._taken(step, use, is_map)
                index, _, item = step.key.node.partition(".")
                if item:
                    yield Edge(step.key, Key(step.key.run_id, index), "value")
        yield from self._hits(steps)
        yield from self._launched_with(steps, output)

    def _taken(self, step: Found, use: Use, is_map: bool) -> Iterator[Edge]:
        run_id = step.key.run_id
        nodes = self._item_nodes(run_id, int(use.node)) if is_map else [use.node]
        for node in nodes or [use.node]:
            yield Edge(step.key, Key(run_id, node), "value", use.output, use.input)

    def _hits(self, steps: list[Found]) -> Iterator[Edge]:
        """The steps that the cache answered with what these computed."""
        makers = {step.key for step in steps if not step.source}
        for part in chunks([step.cache_key for step in steps if step.cache_key and not step.source]):
            query = select(Step.run_id, Step.node, Step.source).join(Run, Run.id == Step.run_id)
            query = query.where(Step.cache_key.in_(part), Step.state == "cached", Run.project_id.in_(self.projects))
            for run_id, node, source in self.session.execute(query.limit(self.most + 1)):
                maker = Key(source["run"], source["node"]) if source else None
                if maker in makers:
                    yield Edge(maker, Key(run_id, node), "cache")

    def _launched_with(self, steps: list[Found], output: str) -> Iterator[Edge]:
        """The steps of other runs that took an output of these as an input of their run."""
        for part in chunks([step.key for step in steps if not step.source or not self.levels[step.key]]):
            made = select(Artifact.run_id, Artifact.node, Artifact.name, Artifact.ref, Artifact.created_at)
            made = made.where(tuple_(Artifact.run_id, Artifact.node).in_(part))
            outputs = {
                ref["digest"]: (Key(run_id, node), name, at)
                for run_id, node, name, ref, at in self.session.execute(made)
                if is_telling(ref) and output in ("", name)
            }
            for run_id, name, digest, at, plan_blob in self._runs_given(outputs):
                maker, made_as, made_at = outputs[digest]
                if run_id == maker.run_id or at < made_at:
                    continue
                for node, own, is_map in self._flow_of(plan_blob).takers_of_input(name):
                    for each in (self._item_nodes(run_id, int(node)) if is_map else []) or [node]:
                        yield Edge(maker, Key(run_id, each), "run", made_as, own)

    def _runs_given(self, digests: Collection[str]) -> Sequence[Any]:
        """The runs that were launched with one of these values, and with which of their inputs."""
        query = (
            select(RunInput.run_id, RunInput.name, RunInput.digest, Run.created_at, Version.plan_blob)
            .join(Run, Run.id == RunInput.run_id)
            .join(Version, Version.id == Run.version_id)
            .where(RunInput.digest.in_(list(digests)), RunInput.project_id.in_(self.projects))
        )
        return self.session.execute(query.limit(self.most + 1)).all() if digests else ()


def _steps() -> Any:
    return (
        select(
            Step.run_id, Step.node, Step.path, Step.task, Step.position, Step.state, Step.width, Step.cache_key,
            Step.source, Step.finished_at, Project.name, Workflow.name, Version.digest, Version.plan_blob,
            Run.created_by, Run.created_at, Run.inputs,
        )
        .join(Run, Run.id == Step.run_id)
        .join(Project, Project.id == Run.project_id)
        .join(Workflow, Workflow.id == Run.workflow_id)
        .join(Version, Version.id == Run.version_id)
    )  # fmt: skip


def _source(step: Found) -> Key:
    source = step.source or {}
    return Key(str(source.get("run")), str(source.get("node")))


def chunks(found: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(found), CHUNK):
        yield found[start : start + CHUNK]
