"""Says of each step that has not begun why it waits, for the REST API, the command and the pages.

A step that was launched counts as running, and begins when its executor has room for it: that says why, too.

What is recorded tells of upstream steps, questions and pauses; the rest is asked of Redis, whose keys are those of the
contracts (sections 9 and 11), in two round trips for a page of any size, and a few more where a map or a dynamic step
is open: it says what the first step below it waits for, when nothing below it is at work. Where Redis does not answer
nothing is said.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import select

from app import redis_names
from app.compiler.plan import Plan
from app.models import INSIDE, RUN_TERMINAL, STEP_TERMINAL, Project, Run, Step
from app.services.moments import iso
from app.services.session import Session
from app.services.step_below import first_waiting, is_below, is_opener, recorded
from app.services.step_unrecorded import Opened, opened_by
from celesta.store import Store

Reason = dict[str, Any]
NAMED = 5
"""So many upstream steps are named."""
AT_ONCE = 500
"""More of them are not asked for by name."""
WAITS = {
    "approve": ("approval", "an approval"),
    "wait_for": ("answer", "a value that somebody gives"),
    "sleep": ("time", "its time"),
}
BY_STATE = {
    "sent": ("queue", "a worker: it is in the queue"),
    "flight_wait": ("flight", "another run that computes the same"),
    "recovering": ("recovery", "its earlier attempt, which may still run after Redis was lost"),
    "asking": ("decision", "the engine, which is looking at it"),
}


def reasons(
    session: Session, redis: Redis, project: Project, run: Run, plan: Plan, steps: Sequence[Step], store: Store
) -> dict[str, Reason]:
    """By node, for those of the steps that wait."""
    if run.status in RUN_TERMINAL:
        return {}
    own = [step for step in steps if not is_opener(step)]
    try:
        found = _own(session, redis, project, run, plan, own, store)
        openers = [step for step in steps if is_opener(step)]
        return found | _below(session, redis, project, run, plan, openers, store) if openers else found
    except RedisError:
        return {}


def _own(
    session: Session, redis: Redis, project: Project, run: Run, plan: Plan, steps: Sequence[Step], store: Store
) -> dict[str, Reason]:
    """Of steps that have nothing below them."""
    waiting = [step for step in steps if step.state in ("waiting", "backoff", "parked")]
    launched = [step for step in steps if step.state == "running"]
    live = _Live(redis, project.name, run.id, [*waiting, *launched])
    above = _Above(session, run, plan, waiting, store)
    found = {step.node: _begun(run, step, live) for step in launched}
    found |= {step.node: _reason(run, step, live, above) for step in waiting}
    return {node: reason for node, reason in found.items() if reason is not None}


def _below(
    session: Session, redis: Redis, project: Project, run: Run, plan: Plan, openers: Sequence[Step], store: Store
) -> dict[str, Reason]:
    """Of open maps and dynamic steps: what the first step below waits for, of those with nothing at work below them."""
    rows = recorded(session, run, openers)
    if rows is None:
        return {}
    inside = [row for row in rows if not is_opener(row)]
    told = _own(session, redis, project, run, plan, inside, store)
    at_work = [row.node for row in inside if row.node not in told]
    still = [one for one in openers if not any(is_below(node, one) for node in at_work)]
    first = {one.node: row for one in reversed(still) for row in reversed(inside) if is_below(row.node, one)}
    silent = [one for one in still if one.node not in first]
    if silent:
        inner = [row for row in rows if is_opener(row)]
        first |= first_waiting(session, redis, run, plan, silent, inner, store)
        told |= _own(
            session, redis, project, run, plan, [first[one.node] for one in silent if one.node in first], store
        )
    return {node: _that(step, told[step.node]) for node, step in first.items() if step.node in told}


def _that(step: Step, reason: Reason) -> Reason:
    return reason | {"text": f"{step.path}, which waits for {reason['text']}", "steps": [step.path]}


class _Live:
    """What Redis says of these steps now, and of what their executors said last."""

    def __init__(self, redis: Redis, project: str, run: str, steps: Sequence[Step]) -> None:
        nodes = [step.node for step in steps]
        pipe = redis.pipeline(transaction=False)
        pipe.hmget(redis_names.meta(run), ["limited", "handled"])
        pipe.hgetall(f"{redis_names.LIMITS}:{project}")
        for step in steps:
            pipe.hget(redis_names.states(run), step.node)
            pipe.zscore(redis_names.inflight(), redis_names.member(run, step.node))
            pipe.get(redis_names.pending(run, step.node, str(step.token)))
        (limited, handled), places, *told = pipe.execute()
        self.states = {
            node: (state or b"").split(b"|")[0].decode() for node, state in zip(nodes, told[::3], strict=True)
        }
        self.deadlines = dict(zip(nodes, told[1::3], strict=True))
        self.pending = dict(zip(nodes, told[2::3], strict=True))
        ready = [node for node in nodes if self.states[node] == "ready"]
        self.full = _full(redis, project, run, ready, places) if limited and ready else {}
        self.limits = {name.decode() for name in places}
        self.failed = handled is not None
        """The steps that run on failure have begun."""


def _full(
    redis: Redis, project: str, run: str, nodes: Iterable[str], places: Mapping[bytes, bytes]
) -> dict[str, list[str]]:
    """The limits without a free place of each ready step."""
    lanes = {field.decode(): value.decode() for field, value in redis.hgetall(redis_names.limits(run)).items()}
    used: dict[str, bool] = {}

    def is_full(limit: str) -> bool:
        if limit not in used:
            name, _, most = limit.partition(":")
            if most:
                used[limit] = int(redis.hget(redis_names.counts(run), f"^{name}") or 0) >= int(most)
            else:
                size = int(places.get(limit[1:].encode(), 0))
                used[limit] = int(redis.scard(f"{redis_names.LIMITS}:{project}:{limit}")) >= size
        return used[limit]

    found = {}
    for node in nodes:
        above, slash, local = node.rpartition("/")  # An item waits in the lane of its map.
        lane = lanes.get(f"{above}{slash}{local.partition('.')[0]}", lanes.get("*", "0"))
        found[node] = [limit for limit in lanes.get(f"#{lane}", "").split(",") if limit and is_full(limit)]
    return found


def _begun(run: Run, step: Step, live: _Live) -> Reason | None:
    """Why what counts as running has not begun: what its executor says, or that its claim was given back."""
    state, text = live.states[step.node], live.pending[step.node]
    if text is not None and state in ("external", "flight_wait"):
        return _told("pod", text.decode(errors="replace"))
    return _before_claim(run, step.node, live)


def _before_claim(run: Run, node: str, live: _Live) -> Reason | None:
    """Why a step that could be at work is not, if it is one."""
    state = live.states[node]
    if run.paused_at is not None and (state == "ready" or state in BY_STATE):
        return _told("pause", "the run, which is paused")
    if state == "ready":
        full = live.full.get(node)
        return _told("limit", _of_limits(full, live.limits)) if full else _told("queue", "its turn: others go first")
    return _told(*BY_STATE[state]) if state in BY_STATE else None


def _reason(run: Run, step: Step, live: _Live, above: "_Above") -> Reason | None:
    state = live.states[step.node]
    if step.state == "parked" and step.parked is not None:
        kind, text = WAITS[step.parked["waits_for"]]
        return _told(kind, text, step.parked["until_ms"])
    if state == "backoff":
        return _told("backoff", "its next attempt", live.deadlines[step.node])
    if not live.failed and above.is_for_failure(step):
        return _told("failure", "the run, should it fail")
    if run.paused_at is not None:
        return _told("pause", "the run, which is paused")
    if (found := _before_claim(run, step.node, live)) is not None:
        return found
    if run.started_at is None:
        return _told("start", "the start of its run")
    paths = above.of(step)
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return _told("upstream", f"{', '.join(paths[:NAMED])}{more}") | {"steps": paths[:NAMED]} if paths else None


def _of_limits(full: list[str], known: Collection[str]) -> str:
    named = [limit[1:] for limit in full if limit.startswith("@")]
    missing = [name for name in named if name not in known]
    if missing:
        return (
            f"the limit {missing[0]}, which the project does not have: celesta projects limits set {missing[0]} PLACES"
        )
    if named:
        return f"a place of the limit {' and '.join(named)}"
    return "its run or map, which has as many steps at work as it may"


def _told(kind: str, text: str, until_ms: float | None = None) -> Reason:
    until = None if until_ms is None else iso(datetime.fromtimestamp(until_ms / 1000, UTC))
    return {"kind": kind, "text": text, "until": until}


class _Above:
    """The upstream steps that have not ended, of steps that wait: those of the run's own plan asked for at once."""

    def __init__(self, session: Session, run: Run, plan: Plan, steps: Sequence[Step], store: Store) -> None:
        self._session, self._run, self._plan, self._store = session, run, plan, store
        asked = {str(parent) for step in steps if step.item == -1 for parent in plan.parents[step.position]}
        self._ended = self._ended_of(asked, -1)

    def is_for_failure(self, step: Step) -> bool:
        return step.node.isdigit() and step.position in self._plan.handlers

    def of(self, step: Step) -> list[str]:
        opener, _, local = step.node.rpartition("/")
        if not local.isdigit():  # an item of a map, which had all of them before it was made
            return []
        if not opener:
            return self._open(Opened(self._plan), step.position, self._ended)
        opened = opened_by(self._session, self._run, opener, self._store)
        if opened is None:
            return []
        ended = self._ended_of({f"{opener}/{parent}" for parent in opened.plan.parents[int(local)]}, INSIDE)
        return self._open(opened, int(local), ended)

    def _open(self, opened: Opened, index: int, ended: Collection[str]) -> list[str]:
        waited_for = (parent for parent in opened.plan.parents[index] if f"{opened.node}{parent}" not in ended)
        return [f"{opened.path}{opened.plan.steps[parent]['path']}" for parent in waited_for]

    def _ended_of(self, nodes: Collection[str], item: int) -> Collection[str]:
        if not nodes:
            return ()
        query = select(Step.node).where(Step.run_id == self._run.id, Step.state.in_(STEP_TERMINAL))
        few = Step.node.in_(nodes) if len(nodes) <= AT_ONCE else Step.item == item
        return set(self._session.scalars(query.where(few)))
