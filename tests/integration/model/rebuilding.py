"""A run whose Redis was lost, in the explored protocol: begun again under a new epoch, and walked through step by step.

Each move of the walk is one call of the script, by whoever knows the results that earlier epochs left: the process that
rebuilds, or, when it died, the one that was asked to resume. The names are those of `workers/engine`.
"""

from collections.abc import Iterator

from tests.integration.model.script import Script
from tests.integration.model.states import GOOD, Opener, Record, Redis, Rules, Shape, State, Step, Token
from tests.integration.model.wholes import Move, Wholes

TAKEN_OVER = GOOD | {"failed"}


class Rebuilding:
    """Its moves from a state."""

    def __init__(self, shape: Shape, rules: Rules, wholes: Wholes) -> None:
        self.shape, self.rules, self.wholes = shape, rules, wholes

    def moves(self, s: State) -> Iterator[Move]:
        if s.redis is None and not s.finished and not s.forgotten:
            yield "rebuild", False, self._rebuilt(s)
        elif s.redis is not None and s.redis.opening:
            yield from self._walk(s)

    def _rebuilt(self, s: State) -> State:
        """A new epoch. What is adopted is written down first, so that every later rebuild adopts the same."""
        epoch = s.epoch + 1
        recorded = s.recorded
        if self.rules.record_winners:
            recorded = tuple(self._pinned(s, step) for step in self.shape.steps)
        nothing = tuple(Record(token=(epoch, 1)) for _ in recorded)
        opening, counts = s.control != "cancel", tuple(0 for _ in nothing)
        redis = Redis(epoch, s.control, nothing, counts, watched=True, opening=opening)
        return s._replace(redis=redis, epoch=epoch, recorded=recorded)

    def _pinned(self, s: State, step: Step) -> tuple[str, Token] | None:
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
    elif script.redis.control != "cancel":
        script.put(step, Record("recovering", (script.redis.epoch, 0)))


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
