"""What lies below steps that opened a map or a plan and has not ended, for `step_wait`: so that one which stands still
can say why.

Of what is recorded the rows; of the rest, which waits and has no row yet, the first step that the engine knows to be
ready or on its way. Looks at a bounded number of steps, however wide a map is. Writes nothing.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from redis import Redis
from sqlalchemy import or_, select

from app import redis_names
from app.compiler.plan import Plan
from app.models import STEP_TERMINAL, Run, Step
from app.services.session import Session
from app.services.step_unrecorded import unrecorded
from celesta.store import Store

AT_ONCE = 500
"""So many steps below the openers of a page are looked at; where more than that are recorded, some are at work."""
AT_WORK = ("running", "external")
NOT_BEGUN = ("ready", "sent", "recovering", "asking")


def is_opener(step: Step) -> bool:
    """Whether it is counted by what lies below it: a map with items, or a dynamic step whose body has ended."""
    return step.state == "running" and step.width is not None


def is_below(node: str, opener: Step) -> bool:
    return node.startswith((f"{opener.node}.", f"{opener.node}/"))


def recorded(session: Session, run: Run, openers: Sequence[Step]) -> list[Step] | None:
    """The rows below these steps that have not ended. None: there are too many for nothing to be at work."""
    below = [Step.node.startswith(f"{one.node}{sign}", autoescape=True) for one in openers for sign in "./"]
    query = select(Step).where(Step.run_id == run.id, Step.state.not_in(STEP_TERMINAL), or_(*below))
    found = list(session.scalars(query.order_by(Step.position, Step.item, Step.node).limit(AT_ONCE + 1)))
    return found if len(found) <= AT_ONCE else None


def first_waiting(
    session: Session, redis: Redis, run: Run, plan: Plan, still: Sequence[Step], inner: Iterable[Step], store: Store
) -> dict[str, Step]:
    """Of each step that stands `still`, by its node: the first below it that has no row. `inner` are openers below."""
    states = _states(redis, run, [*still, *inner])
    first = {one.node: _first([node for node in states if is_below(node, one)], states) for one in still}
    made = {node: unrecorded(session, run, plan, node, store) for node in {*first.values()} if node is not None}
    return {opener: step for opener, node in first.items() if node and (step := made[node]) is not None}


def _first(nodes: Sequence[str], states: Mapping[str, str]) -> str | None:
    if any(states[node] in AT_WORK for node in nodes):  # and not recorded yet
        return None
    return next((node for node in nodes if states[node] in NOT_BEGUN), None)


def _states(redis: Redis, run: Run, openers: Collection[Step]) -> dict[str, str]:
    """What the engine says of the first steps below these, and of those that are ready."""
    each = 1 + AT_ONCE // len(openers)
    names = [
        f"{one.node}{'/' if one.plan else '.'}{index}" for one in openers for index in range(min(one.width or 0, each))
    ]
    pipe = redis.pipeline(transaction=False)
    pipe.hmget(redis_names.states(run.id), ["", *names])
    pipe.zrange(redis_names.ready(run.id), 0, AT_ONCE - 1)
    (_, *states), ready = pipe.execute()
    known = ((state or b"").split(b"|")[0].decode() for state in states)
    return dict(zip(names, known, strict=True)) | dict.fromkeys((node.decode() for node in ready), "ready")
