"""Maps and dynamic plans in the explored protocol: how they open part by part, and are gathered.

A part is asked in one call of the script; whoever does so may die before the next part, and another begins anew while
the first is still at it. The names are those of `workers/engine`: `open_map`, `expand`, `reopen`, `gather`.
"""

from collections.abc import Callable, Iterator

from tests.integration.model.script import Script, told
from tests.integration.model.states import Hand, Opener, ProtocolError, Rules, Shape, State, Step, Token, hold, less

Move = tuple[str, bool, State]
"""Name, whether it is a fault, and what comes of it."""


class Wholes:
    """Their moves from a state."""

    def __init__(self, shape: Shape, rules: Rules, take_over: Callable[[Script, Step], None]) -> None:
        """`take_over` is what a rebuild does with a part."""
        self.shape, self.rules, self.take_over = shape, rules, take_over

    def moves(self, s: State) -> Iterator[Move]:
        for opener in s.openers:
            who = f"{opener.whole}{opener.token} at {opener.at}"
            yield f"ask {who}", False, self._asked(_without(s, opener), opener)
            if s.left.crash:
                yield f"crash asking {who}", True, _without(s, opener)._replace(left=less(s.left, "crash"))
        is_left = s.redis is not None and not (s.redis.opening and self.rules.rebuild_by_results)
        if is_left and self.rules.gather_again:
            for whole in self.shape.parts:
                yield from self.gather(s, whole)

    def gather(self, s: State, whole: Step, walks: bool = False) -> Iterator[Move]:
        script = Script(self.shape, self.rules, s, walks)
        if script.is_gathered(whole):
            script.gather(whole)
            yield f"gather {whole}", False, script.published()

    def reopened(self, s: State, whole: Step, knows: bool = False) -> Iterator[Move]:
        """A map whose turn it is, or something open that has not asked all its parts; while one is at it: once."""
        script = Script(self.shape, self.rules, s)
        record = script.get(whole)
        opens = record.state == "asking" and script.is_map(whole)
        if script.redis.control != "cancel" and (opens or (record.state == "open" and whole not in script.redis.asked)):
            token = record.token if whole in self.shape.dynamic else (script.redis.epoch, 0)
            opener = Opener(whole, script.redis.epoch, token, knows)
            alive = any((one.whole, one.epoch) == (whole, opener.epoch) for one in s.openers)
            if not alive:
                yield f"open {whole}", False, self.with_opener(s, opener)
            elif s.left.sleep:
                yield f"open {whole} again", True, self.with_opener(s, opener)._replace(left=less(s.left, "sleep"))

    def with_opener(self, s: State, opener: Opener) -> State:
        if opener in s.openers:
            return s
        return s._replace(openers=tuple(sorted((*s.openers, opener))))

    def completed(self, s: State, number: int, hand: Hand) -> State:
        """An attempt at a dynamic step has ended, and goes on to open its plan."""
        script = Script(self.shape, self.rules, hold(s, number, None))
        opener = self.expanded(script, hand.step, hand.token)
        return script.published() if opener is None else self.with_opener(script.published(), opener)

    def expanded(self, script: Script, step: Step, token: Token, knows: bool = False) -> Opener | None:
        """Opens what an attempt traced, if it is the one that counts; who asks the parts then."""
        record, is_cancelled = script.get(step), script.redis.control == "cancel"
        counts = record.state == "recovering" or (record.state == "running" and record.token == token)
        if counts and is_cancelled:
            script.end(step, "cancelled", token)
            return None
        opens = not is_cancelled and (counts or (knows and record.state in ("waiting", "asking")))
        if opens and step in self.shape.refused:
            if counts or self.rules.refuse_in_rebuilds:
                script.end(step, "failed", token)
            return None
        if opens:
            script.open(step, token)
        may_go_on = knows or not self.rules.open_once
        is_open = script.get(step).state == "open"
        return Opener(step, script.redis.epoch, token, knows) if opens or (is_open and may_go_on) else None

    def gathered(self, s: State, hand: Hand) -> State:
        """What a worker publishes after its step has counted, and what it gathers."""
        s = told(s, hand.send)
        for whole, attempt in hand.send:
            if attempt <= 0 and s.redis is not None and s.redis.epoch == -attempt:
                script = Script(self.shape, self.rules, s)
                script.gather(whole)
                s = script.published()
        return s

    def _asked(self, s: State, opener: Opener) -> State:
        """The next call of an opener: one part, or the word that all are asked."""
        if s.redis is None or (s.redis.epoch != opener.epoch and self.rules.fence_openers):
            return s
        whole, parts = opener.whole, self.shape.parts[opener.whole]
        script = Script(self.shape, self.rules, s, walks=opener.knows)
        if not parts and script.get(whole).state == "asking":
            script.end(whole, "succeeded", script.get(whole).token)
            return script.published()
        if script.redis.control == "cancel":
            return s
        if script.get(whole).state == "asking":
            script.open(whole, opener.token)
        if script.get(whole).state != "open":
            return s
        if script.get(whole).token != opener.token and self.rules.fence_openers:
            raise ProtocolError(f"{whole} asks parts of the plan of {opener.token}, which nobody accepted")
        if opener.at == len(parts) or not self.rules.mark_when_all_are_asked:
            script.mark(whole)
        if opener.at == len(parts):
            return script.published()
        self._ask(script, parts[opener.at], opener)
        return self.with_opener(script.published(), opener._replace(at=opener.at + 1))

    def _ask(self, script: Script, part: Step, opener: Opener) -> None:
        if self.shape.parents[part] or (script.get(part).state != "waiting" and self.rules.ask_each_once):
            return
        if opener.knows:
            self.take_over(script, part)
        else:
            script.ready(part)


def _without(s: State, opener: Opener) -> State:
    return s._replace(openers=tuple(one for one in s.openers if one != opener))
