"""Preview of a run that takes results over from an earlier one: for each step of the plan, whether it runs and why.

`recover` and `rerun` show it before anything is launched; what the engine then does follows the same rule
(`app.compiler.again`). Writes nothing.
"""

from collections import Counter, defaultdict
from collections.abc import Collection
from typing import Any

from sqlalchemy import func, select

from app.compiler.again import affected
from app.compiler.plan import Plan
from app.models import INSIDE, Run, Step
from app.services.session import Session

Document = dict[str, Any]
GOOD = ("succeeded", "cached")


def preview(session: Session, run: Run, plan: Plan, kind: str, options: Document) -> Document:
    """What a new run would do; `options` are those of the new run. Without `again` in them it takes nothing over."""
    takes_over = "again" in options
    asked, changed = options.get("again", []), options.get("changed", [])
    anew = affected(plan, asked, changed) if takes_over else {}
    states = _states(session, run)
    steps = []
    for index in range(len(plan)):
        if plan.in_place(index) is not None or index in plan.handlers:
            continue  # decided again from what its parents came to; run only if this one fails too
        if takes_over and index not in anew:
            steps.append(_as_before(plan, index, states))
        else:
            why = _why(plan, index, anew, asked, changed) if takes_over else "everything is run again"
            steps.append(_step(plan, index, "run", why, states))
    total = Counter({"run": 0, "reuse": 0})
    for step in steps:
        total["run"] += step["run"]
        total["reuse"] += step["reuse"]
    return {
        "run_id": run.id,
        "kind": kind,
        "from": list(asked),
        "changed": list(changed),
        "run": total["run"],
        "reuse": total["reuse"],
        "steps": steps,
    }


def _states(session: Session, run: Run) -> dict[tuple[int, bool], Counter[str]]:
    """How many steps of each place in the plan are in which state; items of a map apart from the map itself."""
    query = (
        select(Step.position, Step.item >= 0, Step.state, func.count())
        .where(Step.run_id == run.id, Step.item < INSIDE)
        .group_by(Step.position, Step.item >= 0, Step.state)
    )
    found: dict[tuple[int, bool], Counter[str]] = defaultdict(Counter)
    for position, is_item, state, number in session.execute(query):
        found[position, bool(is_item)][state] += number
    return found


def _as_before(plan: Plan, index: int, states: dict[tuple[int, bool], Counter[str]]) -> Document:
    whole, items = states.get((index, False), Counter()), states.get((index, True), Counter())
    if any(whole[state] for state in GOOD):
        return _step(plan, index, "reuse", "it succeeded", states)
    kept = sum(items[state] for state in GOOD)
    if items:
        left = items.total() - kept
        return _step(plan, index, "run", f"{left} of its items did not succeed", states, kept)
    state = next(iter(whole), None)
    return _step(plan, index, "run", f"it was {state.replace('_', ' ')}" if state else "it has not run", states)


def _step(
    plan: Plan, index: int, will: str, why: str, states: dict[tuple[int, bool], Counter[str]], kept: int = 0
) -> Document:
    """`run` and `reuse` count steps and items singly; a map that has not opened counts as one."""
    width = states[index, True].total() if (index, True) in states else None
    number = 1 if width is None else width
    if plan.task(index)["kind"] == "dynamic":  # it opens anew what it calls, or is taken over as a whole
        number = number + 1 if will == "run" and width is not None else 1
    return {
        "path": plan.steps[index]["path"],
        "task": plan.task(index)["name"],
        "will": will,
        "why": why,
        "width": width,
        "run": number - kept if will == "run" else 0,
        "reuse": kept if will == "run" else number,
    }


def _why(plan: Plan, index: int, anew: dict[int, int | None], asked: Collection[str], changed: Collection[str]) -> str:
    parent = anew[index]
    if parent is not None:
        return f'"{plan.steps[parent]["path"]}" runs again'
    if plan.steps[index]["path"] in asked:
        return "it is asked for"
    return f"it takes what is changed: {', '.join(changed)}"
