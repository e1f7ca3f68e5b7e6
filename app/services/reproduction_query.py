"""Whether a run came out the same again: step by step, and in one word.

The origin is the run that was reproduced, the reproduction the run that did. Steps are matched by their paths; what
they made is compared by type and digest, so that no value is loaded until somebody asks how two of them differ.
Called by `app.api` and `app.web`. Writes nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from app.compiler.plan import Plan
from app.models import Project, Run
from app.services import environment_diff, run_query, step_outcomes
from app.services.moments import iso
from app.services.session import Session
from app.services.step_outcomes import Outcome, Refs, Value, changed_outputs, refs_of
from app.services.workflow_query import load_plan
from celesta.codecs import difference
from celesta.errors import ConflictError
from celesta.store import Store

IDENTICAL, DIFFERENT, NOT_COMPARABLE = "identical", "different", "not_comparable"
LOOKED_AT = 50
"""How many steps that differ are looked into; the others are only named."""
LISTED = 5
Outcomes = Mapping[str, Outcome]
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Judged:
    path: str
    verdict: str
    how: str
    before: Outcome | None
    after: Outcome | None


def judge(before: Outcome | None, after: Outcome | None) -> tuple[str, str]:
    """The verdict over one step, and why when it is `not_comparable`."""
    if before is None or after is None:
        return NOT_COMPARABLE, "is in the reproduction only" if before is None else "is not in the reproduction"
    if before.state == after.state == "skipped":
        return IDENTICAL, ""
    if not before.made or not after.made:
        return NOT_COMPARABLE, f"{before.state} in the origin, {after.state} in the reproduction".replace("_", " ")
    changed = changed_outputs(before, after)
    if not changed:
        return IDENTICAL, ""
    if all(_is_pickle(before.outputs.get(name)) and _is_pickle(after.outputs.get(name)) for name in changed):
        return NOT_COMPARABLE, "a pickle of the same value may have other bytes"
    return DIFFERENT, ""


def _is_pickle(value: Value | None) -> bool:
    return value is not None and value[0] == "pickle"


def verdict_of(verdicts: Iterable[str]) -> str:
    """Of a whole run: `identical` only when all its steps are."""
    found = set(verdicts)
    return next((word for word in (DIFFERENT, NOT_COMPARABLE) if word in found), IDENTICAL)


def document(session: Session, project: Project, run: Run, store: Store) -> Document:
    """What came of a reproduction. Raises `ConflictError` for a run that is none, or that has not ended."""
    if run.origin_kind != "reproduction":
        raise ConflictError(f"the run {run.id} reproduces no other; begin with: celesta runs reproduce {run.id}")
    if run.recorded_at is None:
        raise ConflictError(f"the reproduction {run.id} has not ended yet; wait for it: celesta runs watch {run.id}")
    origin = run_query.get(session, project, str(run.origin_run_id))
    plan = load_plan(store, origin.version.plan_blob)
    before, after = (step_outcomes.of_run(session, each) for each in (origin, run))
    judged = _judge_all(plan, before, after)
    return {
        "run_id": run.id,
        "origin_run_id": origin.id,
        "status": run.status,
        "verdict": _whole(origin, run, judged),
        "environment": _environment(store, before, after),
        "steps": [
            {"path": one.path, "verdict": one.verdict, "how": how}
            for one, how in zip(judged, _looked_into(session, judged, store), strict=True)
        ],
    }


def _environment(store: Store, before: Outcomes, after: Outcomes) -> list[Document]:
    """The packages that the reproduction had of another version."""
    pairs = step_outcomes.environments(before, after)
    told = (change for pair in list(pairs)[:LISTED] for change in environment_diff.changes(store, *pair))
    return list({tuple(change.values()): change for change in told}.values())


def of_origin(session: Session, origin: Run, store: Store) -> list[Document]:
    """The newest reproductions of a run; the verdict is None while one has not ended."""
    query = select(Run).where(Run.origin_run_id == origin.id, Run.origin_kind == "reproduction")
    query = query.where(Run.project_id == origin.project_id)
    runs = session.scalars(query.order_by(Run.created_at.desc(), Run.id.desc()).limit(LISTED)).all()
    if not runs:
        return []
    plan, before = load_plan(store, origin.version.plan_blob), step_outcomes.of_run(session, origin)

    def verdict(run: Run) -> str | None:
        judged = _judge_all(plan, before, step_outcomes.of_run(session, run)) if run.recorded_at else None
        return None if judged is None else _whole(origin, run, judged)

    return [
        {
            "run_id": run.id,
            "status": run.status,
            "verdict": verdict(run),
            "created_by": run.created_by,
            "created_at": iso(run.created_at),
        }
        for run in runs
    ]


def _whole(origin: Run, run: Run, judged: list[Judged]) -> str:
    """Two runs that ended differently are at best not comparable, whatever steps they have."""
    ended_alike = IDENTICAL if origin.status == run.status else NOT_COMPARABLE
    return verdict_of([ended_alike, *(one.verdict for one in judged)])


def _judge_all(plan: Plan, before: Outcomes, after: Outcomes) -> list[Judged]:
    """Items of maps are judged singly, and their gather, which is made of them, is not."""
    ordered = step_outcomes.in_order(plan, {**after, **before}.values())
    judged = []
    for path in (outcome.path for outcome in ordered if outcome.width is None):
        verdict, why = judge(before.get(path), after.get(path))
        judged.append(Judged(path, verdict, why, before.get(path), after.get(path)))
    return judged


def _looked_into(session: Session, judged: list[Judged], store: Store) -> list[str]:
    """How each step differs: the first output that does, for as many steps as are worth it."""
    chosen = [one for one in judged if one.verdict == DIFFERENT][:LOOKED_AT]
    before = refs_of(session, [one.before for one in chosen if one.before])
    after = refs_of(session, [one.after for one in chosen if one.after])
    told = {one.path: _how(one, before, after, store) for one in chosen}
    return [told.get(one.path, one.how) for one in judged]


def _how(one: Judged, before: Refs, after: Refs, store: Store) -> str:
    mine, theirs = one.before, one.after
    if mine is None or theirs is None:
        return one.how
    name = changed_outputs(mine, theirs)[0]
    refs = before.get((mine.node, name)), after.get((theirs.node, name))
    if refs[0] is None or refs[1] is None:
        return f"the output {name} is {'new' if refs[0] is None else 'gone'}"
    return f"{name}: {difference(refs[0], refs[1], store)}"
