"""Steps of which nothing is recorded yet: they wait, and are made of the plan that they are in, for showing only.

`step_query` asks for one by its name, as node or as path: of the run's own plan, of a map's width, or of a plan that a
dynamic step opened. No session knows these rows, and nothing of them is ever written.
"""

import re
from typing import NamedTuple

from sqlalchemy import select

from app.compiler.plan import Plan
from app.models import INSIDE, Run, Step
from app.services.session import Session
from app.services.workflow_query import load_plan
from celesta.store import Store

INDEX = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,9}))?")
ITEM = re.compile(r"(.+)\[([0-9]{1,9})\]")


class Opened(NamedTuple):
    """A plan in its place: the run's own, or what a step opened."""

    plan: Plan
    node: str = ""
    path: str = ""


def waiting_step(run: Run, plan: Plan, index: int) -> Step:
    """A step of the run's own plan."""
    return _step(run, Opened(plan), index, None, index, -1)


def unrecorded(session: Session, run: Run, plan: Plan, name: str, store: Store | None = None) -> Step | None:
    """The step of this node or path; None where the run can have none. What dynamic steps opened needs the store."""
    for opened, local in _places(session, run, plan, name, store):
        index, item = _place_in(opened.plan, local)
        if index is None or (item is not None and not _has(session, run, f"{opened.node}{index}", item)):
            continue
        top = int(re.split("[./]", f"{opened.node}{index}", maxsplit=1)[0])
        place = INSIDE if opened.node else -1 if item is None else item
        return _step(run, opened, index, item, top, place)
    return None


def opened_by(session: Session, run: Run, name: str, store: Store) -> Opened | None:
    """What the step of this node or path has opened."""
    query = select(Step.node, Step.path, Step.plan).where(Step.run_id == run.id, Step.plan.is_not(None))
    found = session.execute(query.where((Step.node == name) | (Step.path == name))).first()
    return None if found is None else Opened(load_plan(store, found.plan), f"{found.node}/", f"{found.path}/")


def _places(session: Session, run: Run, plan: Plan, name: str, store: Store | None) -> list[tuple[Opened, str]]:
    """The plans that a name may be of, with what is left of it: workflows inside have a slash in their paths, too."""
    places = [(Opened(plan), name)]
    for end, sign in enumerate(name):
        if sign == "/" and store is not None and (opened := opened_by(session, run, name[:end], store)) is not None:
            places.append((opened, name[end + 1 :]))
    return places


def _place_in(plan: Plan, local: str) -> tuple[int | None, int | None]:
    """Index and item of a name in one plan."""
    node, item = INDEX.fullmatch(local), ITEM.fullmatch(local)
    if node is not None and int(node[1]) < len(plan):
        return int(node[1]), int(node[2]) if node[2] else None
    if local in plan.paths:
        return plan.paths[local], None
    return (plan.paths.get(item[1]), int(item[2])) if item is not None else (None, None)


def _has(session: Session, run: Run, node: str, item: int) -> bool:
    """Whether a mapped step has been opened and has this item."""
    query = select(Step.width).where(Step.run_id == run.id, Step.node == node, Step.plan.is_(None))
    width = session.scalar(query)
    return width is not None and item < width


def _step(run: Run, opened: Opened, index: int, item: int | None, position: int, place: int) -> Step:
    local = str(index) if item is None else f"{index}.{item}"
    return Step(
        run_id=run.id,
        node=f"{opened.node}{local}",
        position=position,
        item=place,
        path=f"{opened.path}{opened.plan.path(local)}",
        task=opened.plan.task(index)["name"],
        state="waiting",
        attempt=0,
        log_bytes=0,
        report=False,
    )
