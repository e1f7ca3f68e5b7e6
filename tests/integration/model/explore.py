"""Every state that a protocol can reach: looked at once, held against the invariants, and asked whether it can end."""

import gc
from collections import deque
from dataclasses import dataclass, field

from tests.integration.model.protocol import Protocol
from tests.integration.model.script import Script
from tests.integration.model.states import TERMINAL, ProtocolError, State, alike

ACTIVE = frozenset({"ready", "sent", "running", "backoff", "asking", "flight_wait", "recovering", "open", "parked"})


@dataclass
class Found:
    """What was seen: how many states, and the way to the first violation."""

    states: int = 0
    ends: int = 0
    violation: str = ""
    path: list[str] = field(default_factory=list)


def explore(protocol: Protocol, most: int = 2_000_000) -> Found:
    """Breadth first, so that the path to a violation is a shortest one. Raises above `most` states."""
    gc.disable()  # Nothing here is garbage before the end, and looking for it takes a third of the time.
    try:
        return _explore(protocol, most)
    finally:
        gc.enable()


def _explore(protocol: Protocol, most: int) -> Found:
    came: dict[State, tuple[State | None, str]] = {protocol.first: (None, "open")}
    back: dict[State, list[State]] = {}
    queue, found = deque([protocol.first]), Found()
    while queue:
        state = queue.popleft()
        try:
            check(protocol, state)
            for name, is_fault, made in protocol.moves(state):
                after = alike(made)
                if after not in came:
                    came[after] = (state, name)
                    queue.append(after)
                if not is_fault:
                    back.setdefault(after, []).append(state)
        except ProtocolError as error:
            return Found(len(came), 0, str(error), _path(came, state))
        if len(came) > most:
            raise RuntimeError(f"more than {most} states")
    found.states = len(came)
    ends = [state for state in came if state.finished]
    found.ends = len(ends)
    if stuck := _cannot_end(came, back, ends):
        found.violation = "from here the run cannot end, even when no fault comes any more"
        found.path = _path(came, stuck)
    return found


def check(protocol: Protocol, s: State) -> None:
    """The invariants that one state shows. What moves must not do, `Protocol` raises itself."""
    redis = s.redis
    if redis is None:
        return
    for step, parents in protocol.shape.parents.items():
        settled = sum(redis.steps[protocol.shape.at(parent)].state in TERMINAL for parent in parents)
        if redis.counts[protocol.shape.at(step)] != settled:
            raise ProtocolError(
                f"{step} counts {redis.counts[protocol.shape.at(step)]} parents, {settled} have settled"
            )
    records = dict(zip(protocol.shape.steps, redis.steps, strict=True))
    known = [step for step in records if protocol.shape.whole(step) in (None, *redis.opened)]
    if redis.over != all(records[step].state in TERMINAL for step in known):
        raise ProtocolError("the run is over before all its steps are, or is not although they are")
    if not redis.watched and not redis.told and not any(record.state in ACTIVE for record in redis.steps):
        raise ProtocolError("nothing is in flight, and the end of the run was not told")
    check_wholes(protocol, s)
    check_limit(protocol, s)
    for step in protocol.shape.waits:
        state, answer = redis.steps[protocol.shape.at(step)].state, dict(s.answers).get(step)
        if state in ("succeeded", "failed") and (state == "succeeded") != (answer == "ok"):
            raise ProtocolError(f"{step} has {state}, and its answer is {answer}")
    for step, record in zip(protocol.shape.steps, redis.steps, strict=True):
        held = [hand for hand in s.hands if hand and hand[:2] == (step, record.token) and hand.phase != "told"]
        if record.state == "running" and len(held) > 1:
            raise ProtocolError(f"two workers hold {step} {record.token}")


def check_wholes(protocol: Protocol, s: State) -> None:
    """What has parts ends after them, by what they came to; and none of them begins before it is open."""
    script = Script(protocol.shape, protocol.rules, s)
    for whole, parts in protocol.shape.parts.items():
        state, states = script.get(whole).state, [script.get(part).state for part in parts]
        if whole not in script.redis.opened:
            if any(one != "waiting" for one in states) or (parts and state == "succeeded"):
                raise ProtocolError(f"{whole} is {state} and has not opened, its parts are {states}")
        elif state in TERMINAL and not all(one in TERMINAL for one in states):
            raise ProtocolError(f"{whole} has {state} before its parts: {states}")
        elif state in ("succeeded", "failed") and state != script.verdict(whole):
            raise ProtocolError(f"{whole} has {state}, and its parts are {states}")


def check_limit(protocol: Protocol, s: State) -> None:
    """No more steps are at work than the limit has places, and none waits for one that is free."""
    if not protocol.shape.limited:
        return
    script = Script(protocol.shape, protocol.rules, s)
    if script.used() > protocol.shape.places:
        raise ProtocolError(f"{script.used()} steps use a limit of {protocol.shape.places}")
    for step in protocol.shape.limited:
        if script.get(step).state == "ready" and script.redis.control == "run" and script.has_place(step):
            raise ProtocolError(f"{step} waits for a place that is free")


def _cannot_end(
    came: dict[State, tuple[State | None, str]], back: dict[State, list[State]], ends: list[State]
) -> State | None:
    reached, queue = set(ends), deque(ends)
    while queue:
        for before in back.get(queue.popleft(), ()):
            if before not in reached:
                reached.add(before)
                queue.append(before)
    return next((state for state in came if state not in reached), None)


def _path(came: dict[State, tuple[State | None, str]], state: State) -> list[str]:
    steps: list[str] = []
    at: State | None = state
    while at is not None:
        at, name = came[at]
        steps.append(name)
    return steps[::-1]
