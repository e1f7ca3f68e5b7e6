"""Preview of a run that takes results over from an earlier one: for each step of the plan, whether it runs and why.

`recover` and `rerun` show it before anything is launched; what the engine then does follows the same rule
(`app.compiler.again`). Where a dynamic step runs, or a branch may come out otherwise, its numbers are those of the
earlier run. Writes nothing.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import and_, func, not_, select

from app.compiler.again import affected
from app.compiler.in_place import IN_PLACE
from app.compiler.plan import Plan
from app.models import INSIDE, Run, Step
from app.services.session import Session

Document = dict[str, Any]
GOOD = ("succeeded", "cached")


def preview(session: Session, run: Run, plan: Plan, kind: str, options: Document) -> Document:
    """What a new run would do; `options` are those of the new run. Without `again` in them it takes nothing over."""
    asked, changed = options.get("again", []), options.get("changed", [])
    anew = affected(plan, asked, changed) if "again" in options else dict.fromkeys(range(len(plan)))
    before = _Before(session, run, plan, anew)
    steps = []
    for index in range(len(plan)):
        if plan.in_place(index) is not None or index in plan.handlers:
            continue  # decided again from what its parents came to; run only if this one fails too
        if index in before.skipped_again:
            steps.append(before.step(index, "skip", "it was skipped, and is again"))
        elif index not in anew:
            steps.append(before.step(index, *before.will(index)))
        else:
            why = _why(plan, index, anew, asked, changed) if "again" in options else "everything is run again"
            steps.append(before.step(index, "run", why))
    return {
        "run_id": run.id,
        "kind": kind,
        "from": list(asked),
        "changed": list(changed),
        "run": sum(step["run"] for step in steps),
        "reuse": sum(step["reuse"] for step in steps),
        "exact": all(step["exact"] for step in steps),
        "steps": steps,
    }


class _Before:
    """What the earlier run came to, and what that means for the new one; `anew` are the steps that are affected."""

    def __init__(self, session: Session, run: Run, plan: Plan, anew: Collection[int]) -> None:
        self._plan, self._anew = plan, anew
        self._wholes, self._items = _states(session, run)
        self.skipped_again = _skipped_again(
            plan, anew, {at for at, state in self._wholes.items() if state == "skipped"}
        )
        runs = [index for index in range(len(plan)) if index in anew or self._wholes.get(index) not in GOOD]
        self._called = _called(session, run, [index for index in runs if plan.task(index)["kind"] == "dynamic"])

    def will(self, index: int) -> tuple[str, str]:
        """What becomes of a step that is not affected, and why."""
        state, items = self._wholes.get(index), self._items[index]
        if state in GOOD:
            return "reuse", "it succeeded"
        if items:
            return "run", f"{items.total() - _good(items)} of its items did not succeed"
        return "run", f"it was {state.replace('_', ' ')}" if state else "it has not run"

    def step(self, index: int, will: str, why: str) -> Document:
        number, kept = self._counts(index)
        if will != "run":
            number = kept = 0 if will == "skip" else max(1, self._items[index].total())
        return {
            "path": self._plan.steps[index]["path"],
            "task": self._plan.task(index)["name"],
            "will": will,
            "why": why,
            "width": self._items[index].total() or None,
            "run": number - kept,
            "reuse": kept,
            "exact": will != "run" or not (index in self._called or self._wholes.get(index) == "skipped"),
        }

    def _counts(self, index: int) -> tuple[int, int]:
        """How many steps it was, items singly, and how many of them are taken over should it run."""
        items, keeps = self._items[index], index not in self._anew
        if index in self._called:
            return _count(self._called[index], keeps)
        return max(1, items.total()), _good(items) if keeps else 0


def _states(session: Session, run: Run) -> tuple[dict[int, str], dict[int, Counter[str]]]:
    """By the place in the plan: the state of the step, and how many of its items are in which."""
    query = (
        select(Step.position, Step.item >= 0, Step.state, func.count())
        .where(Step.run_id == run.id, Step.item < INSIDE)
        .group_by(Step.position, Step.item >= 0, Step.state)
    )
    wholes: dict[int, str] = {}
    items: dict[int, Counter[str]] = defaultdict(Counter)
    for position, is_item, state, number in session.execute(query):
        if is_item:
            items[position][state] += number
        else:
            wholes[position] = state
    return wholes, items


def _skipped_again(plan: Plan, anew: Collection[int], was: Collection[int]) -> set[int]:
    """Steps that were skipped and will be: what decided about them is not affected."""
    found = [index for index in was if index not in anew or _is_shut(plan, index, anew, was)]
    again = set(found)
    while found:
        for child in plan.children[found.pop()]:
            if child in was and child not in again and plan.in_place(child) != "merge":
                again.add(child)
                found.append(child)
    return again


def _is_shut(plan: Plan, index: int, anew: Collection[int], was: Collection[int]) -> bool:
    """Whether its branch alone kept it from running, and comes out as before."""
    guard = plan.guard(index)
    if guard is None or guard["step"] in anew or plan.in_place(index) == "merge":
        return False
    return not any(parent in was for parent in plan.parents[index] if parent != guard["step"])


def _called(session: Session, run: Run, dynamic: Sequence[int]) -> dict[int, list[tuple[str, str]]]:
    """Node and state of what counts in dynamic steps: of themselves, or their items, and of all that lies below."""
    found: dict[int, list[tuple[str, str]]] = {index: [] for index in dynamic}
    if not found:
        return found
    query = select(Step.position, Step.node, Step.state).where(Step.run_id == run.id, Step.position.in_(dynamic))
    is_map = and_(Step.width.is_not(None), Step.plan.is_(None))
    decides = and_(Step.item == INSIDE, Step.task.in_(IN_PLACE.values()))
    for position, node, state in session.execute(query.where(not_(is_map), not_(decides))):
        found[position].append((node, state))
    return found


def _count(called: Sequence[tuple[str, str]], keeps: bool) -> tuple[int, int]:
    """How many of these steps there were, and how many are kept; what lies below one that is kept is part of it."""
    good = {node for node, state in called if state in GOOD} if keeps else set()
    outer = [(node, state) for node, state in called if not any(above in good for above in _above(node))]
    kept = sum(node in good for node, _ in outer)
    return max(1, sum(state != "skipped" for _, state in outer)), kept


def _above(node: str) -> Iterator[str]:
    """The steps that this one lies below of."""
    return (node[:end] for end, sign in enumerate(node) if sign == "/")


def _good(states: Counter[str]) -> int:
    return sum(states[state] for state in GOOD)


def _why(
    plan: Plan, index: int, anew: Mapping[int, int | None], asked: Collection[str], changed: Collection[str]
) -> str:
    parent = anew[index]
    if parent is not None:
        return f'"{plan.steps[parent]["path"]}" runs again'
    if plan.steps[index]["path"] in asked:
        return "it is asked for"
    return f"it takes what is changed: {', '.join(changed)}"
