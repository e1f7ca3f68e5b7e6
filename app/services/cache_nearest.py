"""The entry of the cache that a computed step came nearest to, and exactly what kept it from being a hit.

`cache_explain` calls it. Compares the components of two keys; code and previews are shown of the project's own runs
only, since an entry of another project may be shared without its code being so. Writes nothing.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import joinedload

from app.compiler.plan import Plan
from app.models import CacheEntry, Project, Run, Step
from app.services import environment_diff, version_diff
from app.services.moments import iso
from app.services.session import Session
from app.services.step_inputs import StepInputs
from app.services.workflow_query import load_plan
from celesta.hashing import key_differences
from celesta.store import Store

Document = dict[str, Any]
LOOKED_AT = 200
"""The newest entries of a task that are compared; the nearest one is hardly ever older."""


def usable(project: Project) -> Any:
    """The condition under which an entry may answer a step of this project."""
    return (CacheEntry.project_id == project.id) | (CacheEntry.scope == "organisation")


def nearest(session: Session, project: Project, step: Step, mine: Document, before: datetime) -> CacheEntry | None:
    """Of the task's entries before a moment the one with the fewest components that differ; of several, the newest."""
    query = (
        select(CacheEntry.project_id, CacheEntry.key, CacheEntry.created_at, CacheEntry.components)
        .where(CacheEntry.task == step.task, CacheEntry.created_at < before, CacheEntry.components.is_not(None))
        .where((CacheEntry.run_id != step.run_id) | (CacheEntry.node != step.node))
        .order_by(CacheEntry.created_at.desc())
        .limit(LOOKED_AT)
    )
    # Asked one by one, each is the end of an index; asked with "or", all entries of the task would be sorted.
    sides = (CacheEntry.project_id == project.id, CacheEntry.scope == "organisation")
    found = {row[:2]: row for side in sides for row in session.execute(query.where(side)).all()}
    newest = sorted(found.values(), key=lambda row: row.created_at, reverse=True)[:LOOKED_AT]
    best = min(newest, key=lambda row: sum(1 for _ in key_differences(row.components, mine)), default=None)
    return session.get(CacheEntry, (best.project_id, best.key)) if best else None


def told(
    session: Session, store: Store, project: Project, run: Run, step: Step, mine: Document, entry: CacheEntry
) -> Document:
    """The nearest entry with its differences, from it to the step."""
    ours = entry.project_id == project.id
    sides = _Sides(session, store, run, step, entry if ours else None)
    differences = [sides.told(*part) for part in key_differences(entry.components or {}, mine)]
    return {
        "key": entry.key,
        "run": entry.run_id if ours else None,
        "path": entry.path,
        "node": entry.node,
        "created_at": iso(entry.created_at),
        "differences": differences,
    }


class _Sides:
    """What is known of the entry's step and of the one in question; of a shared entry nothing but its key."""

    def __init__(self, session: Session, store: Store, run: Run, step: Step, entry: CacheEntry | None) -> None:
        self._session, self._store = session, store
        self._right: tuple[Run, Step] = run, step
        self._left = _made_by(session, entry) if entry else None
        self._inputs: dict[tuple[Run, Step], StepInputs] = {}

    def told(self, component: str, name: str | None, a: Any, b: Any) -> Document:
        change: Document = {"component": component, "name": name, "from": a, "to": b}
        if component == "code":
            change |= self._code(a, b)
        elif component == "environment":
            change["changes"] = environment_diff.changes(self._store, a, b)
        elif component == "interface":
            change["changes"] = self._interface()
        elif component == "input":
            change |= {"from": self._value(self._left, name, a), "to": self._value(self._right, name, b)}
        return change

    def _code(self, a: Any, b: Any) -> Document:
        """The function line by line, and the files that it may have reached: a helper changes it as well."""
        if self._left is None or not isinstance(a, str) or not isinstance(b, str):
            return {"diff": "", "files": []}
        left, right = (self._task(side) for side in (self._left, self._right))
        name = (right or left or {}).get("entrypoint", "task")
        diff = version_diff.text_diff((left or {}).get("source"), (right or {}).get("source"), name)
        bundles = [side[0].version.bundle for side in (self._left, self._right)]
        return {"diff": diff, "files": version_diff.code(self._store, *bundles)}

    def _interface(self) -> list[Document]:
        left, right = (self._task(side) if side else None for side in (self._left, self._right))
        return list(version_diff.interface(left["interface"], right["interface"])) if left and right else []

    def _task(self, side: tuple[Run, Step]) -> Document | None:
        plan = self._plan(side[0])
        return next((task for task in plan.tasks if task["name"] == side[1].task), None)

    def _value(self, side: tuple[Run, Step] | None, name: str | None, value: Any) -> Document | None:
        if value is None:
            return None
        kind, digest = value
        shown: Document = {}
        if side is not None:
            if side not in self._inputs:
                self._inputs[side] = StepInputs(self._session, side[0], self._plan(side[0]), [side[1]], self._store)
            shown = self._inputs[side].of(side[1]).get(str(name), {})
        return {"type": kind, "digest": digest, "preview": shown.get("preview")}

    def _plan(self, run: Run) -> Plan:
        return load_plan(self._store, run.version.plan_blob)


def _made_by(session: Session, entry: CacheEntry) -> tuple[Run, Step] | None:
    """The run and step that made an entry, while they are recorded."""
    run = session.scalar(select(Run).where(Run.id == entry.run_id).options(joinedload(Run.version)))
    step = session.get(Step, (entry.run_id, entry.node)) if run else None
    return (run, step) if run and step else None
