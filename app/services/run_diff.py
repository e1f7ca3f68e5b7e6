"""How two runs differ: inputs, code, environment, and step by step what they made, and where they part first.

Steps are matched by path, inputs by name, code by task, so that runs of different versions, and even of different
workflows, can be compared as far as they have anything in common. Called by `app.api` and `app.web`. Writes nothing.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from app.compiler.plan import Plan
from app.models import Run
from app.services import environment_diff, metric_query, step_outcomes
from app.services.moments import iso, seconds_between
from app.services.session import Session
from app.services.step_outcomes import NOTHING, Outcome, Refs, changed_outputs, inputs_of, refs_of
from app.services.workflow_query import load_plan
from celesta.codecs import difference, preview
from celesta.store import Store

LOOKED_AT = 50
"""How many steps that differ are looked into; of the others the digests are told."""
MOST_STEPS = 5_000
"""Steps in one answer: those that differ come before those that do not."""
MOST_ENVIRONMENTS = 10
"""Pairs of environments that are held against each other."""
MOST_SOURCE = 200_000
"""Characters of a function that are compared line by line."""
ENVIRONMENT = ("image", "env", "resources", "executor")
Document = dict[str, Any]
Metrics = Mapping[str, Mapping[str, float | None]]


def diff(session: Session, before: Run, after: Run, store: Store) -> Document:
    """The difference document (contracts, section 12) of two runs of one project."""
    plans = [load_plan(store, run.version.plan_blob) for run in (before, after)]
    steps = _Steps(session, before, after, plans, store)
    listed, left_out = steps.listed()
    return {
        "runs": [_run(run) for run in (before, after)],
        "note": _note(before, after),
        "same": not steps.changed and before.status == after.status,
        "first_divergence": steps.first_divergence(),
        "inputs": list(_inputs(before.inputs, after.inputs, store)),
        "outputs": list(_inputs(before.outputs or {}, after.outputs or {}, store)),
        "code": [] if plans[0] is plans[1] else list(_code(*plans)),
        "environment": [*steps.environment(), *([] if plans[0] is plans[1] else _environment(*plans))],
        "counts": steps.counts(),
        "steps": listed,
        "steps_left_out": left_out,
    }


def _run(run: Run) -> Document:
    return {
        "run_id": run.id,
        "workflow": run.workflow_name,
        "version": run.version.digest,
        "status": run.status,
        "created_by": run.created_by,
        "created_at": iso(run.created_at),
        "duration_seconds": seconds_between(run.created_at, run.recorded_at),
    }


def _note(before: Run, after: Run) -> str:
    if before.workflow_id != after.workflow_id:
        return (
            f"the runs are of different workflows ({before.workflow_name}, {after.workflow_name}); compared are the "
            "inputs and outputs of the same name, the tasks of the same name and the steps of the same path"
        )
    if before.recorded_at is None or after.recorded_at is None:
        return "not both runs have ended; steps that have not ended count as different"
    return ""


def _inputs(before: Document, after: Document, store: Store) -> Iterator[Document]:
    """The names whose values are not the same."""
    for name in {**before, **after}:
        mine, theirs = before.get(name), after.get(name)
        if mine is None or theirs is None:
            how = "is in the second run only" if mine is None else "is in the first run only"
        else:
            how = difference(mine, theirs, store)
        if how:
            yield {"name": name, "before": _told(mine), "after": _told(theirs), "how": how}


def _told(ref: Document | None) -> Document | None:
    return {"type": ref["type"], "digest": ref["digest"], "preview": preview(ref)} if ref else None


def _code(before: Plan, after: Plan) -> Iterator[Document]:
    """The tasks whose code is not the same, with a unified diff of their own source."""
    mine, theirs = ({task["name"]: task for task in plan.tasks} for plan in (before, after))
    for name in {**mine, **theirs}:
        one, other = mine.get(name), theirs.get(name)
        if one is None or other is None:
            yield {"task": name, "change": "added" if one is None else "removed", "diff": ""}
        elif one["code_digest"] != other["code_digest"]:
            yield {"task": name, "change": "changed", "diff": _source_diff(one, other)}


def _source_diff(one: Document, other: Document) -> str:
    """Empty when what changed is what the function reaches: a helper, a constant."""
    mine, theirs = ((task.get("source") or "")[:MOST_SOURCE].splitlines() for task in (one, other))
    return "\n".join(difflib.unified_diff(mine, theirs, "before", "after", lineterm="", n=2))


def _environment(before: Plan, after: Plan) -> Iterator[Document]:
    """What steps of the same path run in and are given, where that is not the same."""
    for path, index in before.paths.items():
        if path in after.paths:
            one, other = before.steps[index], after.steps[after.paths[path]]
            for name in ENVIRONMENT:
                if one.get(name) != other.get(name):
                    yield {"path": path, "name": name, "before": one.get(name), "after": other.get(name)}


class _Steps:
    """The steps of both runs side by side, a step after those that it depends on."""

    def __init__(self, session: Session, before: Run, after: Run, plans: list[Plan], store: Store) -> None:
        self._before, self._after = (step_outcomes.of_run(session, run) for run in (before, after))
        self._session, self._plans, self._store = session, plans, store
        self._metrics: list[Metrics] = [metric_query.last_values(session, run) for run in (before, after)]
        both = {**self._after, **self._before}
        self.paths = [outcome.path for outcome in step_outcomes.in_order(plans[0], both.values())]
        self.changed = [path for path in self.paths if self._differ(path)]
        self._refs = [refs_of(session, list(self._looked_into(side))) for side in (self._before, self._after)]

    def _looked_into(self, side: Mapping[str, Outcome]) -> Iterator[Outcome]:
        return (side[path] for path in self.changed[:LOOKED_AT] if path in side)

    def _differ(self, path: str) -> bool:
        """Whether a step made something else, or did not come to make the same. How long it took is no difference."""
        one, other = self._before.get(path), self._after.get(path)
        if one is None or other is None or one.made != other.made:
            return True
        return bool(changed_outputs(one, other)) if one.made else one.state != other.state

    def counts(self) -> Document:
        only = [len(mine.keys() - theirs.keys()) for mine, theirs in self._sides()]
        changed = len(self.changed)
        return {
            "steps": len(self.paths),
            "same": len(self.paths) - changed,
            "different": changed - sum(only),
            "only_first": only[0],
            "only_second": only[1],
        }

    def _sides(self) -> tuple[tuple[Mapping[str, Outcome], Mapping[str, Outcome]], ...]:
        return (self._before, self._after), (self._after, self._before)

    def environment(self) -> Iterator[Document]:
        """The packages that differ where steps ran, with the first step of which that is so."""
        pairs = step_outcomes.environments(self._before, self._after)
        for (before, after), path in list(pairs.items())[:MOST_ENVIRONMENTS]:
            for change in environment_diff.changes(self._store, before, after):
                yield {"path": path} | change

    def listed(self) -> tuple[list[Document], int]:
        changed = set(self.changed)
        chosen = self.paths
        if len(chosen) > MOST_STEPS:
            kept = set([*self.changed, *(path for path in self.paths if path not in changed)][:MOST_STEPS])
            chosen = [path for path in self.paths if path in kept]
        return [self._document(path, path in changed) for path in chosen], len(self.paths) - len(chosen)

    def _document(self, path: str, changed: bool) -> Document:
        one, other = self._before.get(path), self._after.get(path)
        pair = (one, other)
        return {
            "path": path,
            "change": "same" if not changed else "different" if one and other else _only(one),
            "states": [step and step.state for step in pair],
            "cached": [step and step.hit for step in pair],
            "duration_seconds": [step and step.duration_seconds for step in pair],
            "outputs": self._outputs(one, other),
            "metrics": self._metrics_of(path),
        }

    def _outputs(self, one: Outcome | None, other: Outcome | None) -> list[Document]:
        mine, theirs = (step.outputs if step else NOTHING for step in (one, other))
        return [
            {
                "name": name,
                "digests": [value and value[1] for value in (mine.get(name), theirs.get(name))],
                "how": self._how(one, other, name) if one and other and mine.get(name) != theirs.get(name) else "",
            }
            for name in _names(mine, theirs)
        ]

    def _how(self, one: Outcome, other: Outcome, name: str) -> str:
        refs: list[Refs] = self._refs
        mine, theirs = refs[0].get((one.node, name)), refs[1].get((other.node, name))
        return difference(mine, theirs, self._store) if mine and theirs else ""

    def _metrics_of(self, path: str) -> list[Document]:
        mine, theirs = (metrics.get(path, NOTHING) for metrics in self._metrics)
        return [{"name": name, "values": [mine.get(name), theirs.get(name)]} for name in _names(mine, theirs)]

    def first_divergence(self) -> Document | None:
        """The first step that differs although all that it depends on came first, and why it may."""
        if not self.changed:
            return None
        path = self.changed[0]
        return {"path": path, "why": self._why(path, self._before.get(path), self._after.get(path))}

    def _why(self, path: str, one: Outcome | None, other: Outcome | None) -> str:
        if one is None or other is None:
            return "it is in the second run only" if one is None else "it is in the first run only"
        reasons = []
        tasks = [plan.task(step.place[0]) for plan, step in zip(self._plans, (one, other), strict=True)]
        if tasks[0]["code_digest"] != tasks[1]["code_digest"]:
            reasons.append("its code is not the same")
        given = [inputs_of(self._session, step) for step in (one, other)]
        names = [name for name in {**given[0], **given[1]} if given[0].get(name) != given[1].get(name)]
        if names:
            reasons.append(f"it was given another {', '.join(names)}")
        if not reasons and one.made and other.made:
            reasons.append("the same code made something else of the same inputs")
        if not (one.made and other.made):
            reasons.append(f"it {one.state} in the first run and {other.state} in the second".replace("_", " "))
        return "; ".join(reasons)


def _names(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterable[str]:
    """The names of both, in the order of the first."""
    return mine if mine.keys() == theirs.keys() else {**mine, **theirs}


def _only(first: Outcome | None) -> str:
    return "only_second" if first is None else "only_first"
