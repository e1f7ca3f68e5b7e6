"""A run whose Redis was lost, in the explored protocol: begun again under a new epoch, and walked through step by step.

Each move of the walk is one call of the script, by whoever knows the results that earlier epochs left: the process that
rebuilds, or, when it died, the one that was asked to resume. The names are those of `workers/engine`.
"""

from collections.abc import Iterator

from tests.integration.model.script import Script
from tests.integration.model.states import (
    GOOD,
    Opener,
    Record,
    Redis,
    Result,
    Rules,
    Shape,
    Starter,
    State,
    Step,
    Token,
    less,
)
from tests.integration.model.wholes import Move, Wholes

TAKEN_OVER = GOOD | {"failed"}


class Rebuilding:
    """Its moves from a state."""

    def __init__(self, shape: Shape, rules: Rules, wholes: Wholes) -> None:
        self.shape, self.rules, self.wholes = shape, rules, wholes

    def moves(self, s: State) -> Iterator[Move]:
        yield from self._starts(s)
        if s.redis is not None and s.redis.opening:
            yield from self._walk(s)

    def _starts(self, s: State) -> Iterator[Move]:
        for starter in set(s.starters):
            yield f"{starter.phase} {starter.epoch}", False, self._gone_on(s, starter)
            if s.left.crash:
                died = _without(s, starter)._replace(left=less(s.left, "crash"))
                yield f"crash {starter.phase} {starter.epoch}", True, died
        if s.finished or s.forgotten or not self._is_behind(s, s.epoch):
            return
        if not any(starter.leads for starter in s.starters):
            starter = Starter(s.epoch)
            after = self._gone_on(s._replace(starters=(*s.starters, starter)), starter)
            while len(after.starters) > len(s.starters):
                after = self._gone_on(after, next(one for one in after.starters if one.leads))
            yield "rebuild", False, after
        if s.left.slow_start:
            starters = tuple(sorted((*s.starters, Starter(s.epoch))))
            yield "start slowly", True, s._replace(starters=starters, left=less(s.left, "slow_start"))

    def _is_behind(self, s: State, epoch: int) -> bool:
        return s.redis is None or (s.redis.epoch < epoch and self.rules.compare_epochs)

    def _gone_on(self, s: State, starter: Starter) -> State:
        """One step of a rebuild. Who begins takes the lead from one that was too slow."""
        after = _without(s, starter)
        if starter.phase == "met":
            if not self._is_behind(s, starter.epoch):
                return after
            cleared = after if s.redis is None else after._replace(redis=None, accepted=remembered(s, self.shape))
            others = tuple(one._replace(leads=False) for one in after.starters)
            return _with(cleared._replace(starters=others), Starter(starter.epoch, "reads", True))
        if starter.phase == "reads":
            taken = tuple(self._taken_over(s, step) for step in self.shape.steps)
            return _with(after, starter._replace(phase="knows", taken=taken))
        if starter.phase == "knows":
            if self.rules.raise_once and (s.epoch != starter.epoch or s.finished):
                return after
            recorded = tuple(old or new for old, new in zip(s.recorded, starter.taken, strict=True))
            raised = after._replace(epoch=s.epoch + 1, recorded=recorded)
            return _with(raised, Starter(s.epoch + 1, "raised", starter.leads))
        if s.redis is None and (starter.leads or not self.rules.fence_starters):
            return self._loaded(after, starter.epoch)
        return after

    def _loaded(self, s: State, epoch: int) -> State:
        nothing = tuple(Record(token=(epoch, 1)) for _ in s.recorded)
        opening, counts = s.control != "cancel", tuple(0 for _ in nothing)
        return s._replace(redis=Redis(epoch, s.control, nothing, counts, watched=True, opening=opening))

    def _taken_over(self, s: State, step: Step) -> tuple[str, Token] | None:
        """Written down with the epoch, so that every later rebuild adopts the same."""
        if not self.rules.record_winners:
            return None
        result = found(s, self.shape, self.rules, step)
        return s.recorded[self.shape.at(step)] or (None if result is None else ("pinned", result[1]))

    def _walk(self, s: State) -> Iterator[Move]:
        """The first step that the walk has not come to yet; when there is none, the rebuild is through."""
        for step in self.shape.steps:
            moves = list(self._step(s, step))
            if moves:
                yield from moves
                return
        if not any(opener.knows and opener.epoch == s.epoch for opener in s.openers):
            assert s.redis is not None
            redis = s.redis
            watched = redis.control == "cancel" or (redis.over and not redis.told and self.rules.watch_until_told)
            yield "rebuilt", False, s._replace(redis=redis._replace(opening=False, watched=watched))

    def _step(self, s: State, step: Step) -> Iterator[Move]:
        script = Script(self.shape, self.rules, s, walks=True)
        state, control = script.get(step).state, script.redis.control
        parents = [script.get(parent).state for parent in self.shape.parents[step]]
        is_root = state == "waiting" and not parents and self.shape.whole(step) is None
        if state == "open" and script.is_gathered(step):
            yield from self.wholes.gather(s, step, walks=True)
        elif state == "open":
            if not any(opener.knows and opener.whole == step for opener in s.openers):
                yield from self.wholes.reopened(s, step, knows=True)
        elif not is_root and (state != "asking" or not all(parent in GOOD for parent in parents)):
            return
        elif script.is_map(step):
            if control != "cancel":
                script.put(step, script.get(step)._replace(state="asking"))
                yield from self.wholes.reopened(script.state, step, knows=True)
        elif control != "cancel" or found(s, self.shape, self.rules, step):
            opener = self._taken_up(script, step)
            after = script.published()
            yield f"walk {step}", False, after if opener is None else self.wholes.with_opener(after, opener)

    def _taken_up(self, script: Script, step: Step) -> Opener | None:
        result = found(script.state, self.shape, self.rules, step)
        if step in self.shape.dynamic and result is not None and script.made(step, result[1]):
            return self.wholes.expanded(script, step, result[1], knows=True)
        adopt_or_hold(script, step)
        return None


def adopt_or_hold(script: Script, step: Step) -> None:
    """A step that a rebuild comes to: its result counts, or it has one lease to say that it still runs."""
    result = found(script.state, script.shape, script.rules, step)
    if result is not None:
        if key := script.shape.keys.get(step):
            script.state = script.state._replace(cache=script.state.cache | {key})
        script.end(step, *result)
    elif step in script.shape.waits and script.redis.control != "cancel":
        script.ask(step, script.get(step))
    elif script.redis.control != "cancel":
        script.put(step, _held(script, step))


def _held(script: Script, step: Step) -> Record:
    tried = script.state.tried[script.shape.at(step)] if script.state.tried and script.rules.keep_budgets else None
    if tried is None:
        return Record("recovering", (script.redis.epoch, 0))
    token = tried.token if tried.over else (script.redis.epoch, tried.token[1])
    return Record("recovering", token, tried.failed, tried.lost)


def _without(s: State, starter: Starter) -> State:
    rest = list(s.starters)
    rest.remove(starter)
    return s._replace(starters=tuple(rest))


def _with(s: State, starter: Starter) -> State:
    return s._replace(starters=tuple(sorted((*s.starters, starter))))


def remembered(s: State, shape: Shape) -> tuple[tuple[Step, Result], ...]:
    """What stays accepted when Redis is lost: all but hits that nobody had recorded, which are decided anew."""
    assert s.redis is not None
    records = zip(shape.steps, s.redis.steps, s.recorded, strict=True)
    gone = {step for step, record, recorded in records if record.state == "cached" and recorded is None}
    return tuple(one for one in s.accepted if one[0] not in gone)


def found(s: State, shape: Shape, rules: Rules, step: Step) -> tuple[str, Token] | None:
    """What earlier epochs made of a step: what is recorded or pinned, else the success of the highest token."""
    recorded = s.recorded[shape.at(step)]
    if recorded is not None and recorded[0] == "pinned":
        return "succeeded", recorded[1]
    if recorded is not None and recorded[0] in TAKEN_OVER:
        return recorded
    made = [token for name, token, outcome in s.manifests if name == step and outcome == "ok"]
    if not made:
        return None
    return "succeeded", (max(made) if rules.record_winners else min(made))
