"""One atomic call of a script of the engine, on a state of the explored protocol."""

from collections.abc import Sequence

from tests.integration.model.states import (
    BAD,
    CANCELLABLE,
    GOOD,
    TERMINAL,
    USES,
    Hand,
    ProtocolError,
    Record,
    Result,
    Rules,
    Shape,
    State,
    Step,
    Token,
    hold,
)


class Script:
    """One atomic call: the records as it changes them, and what it answers."""

    def __init__(self, shape: Shape, rules: Rules, state: State, walks: bool = False) -> None:
        """`walks`: a rebuild, which asks what becomes ready itself."""
        assert state.redis is not None
        self.shape, self.rules, self.state, self.redis = shape, rules, state, state.redis
        self.sent: list[tuple[Step, int]] = []
        self.walks = walks

    def get(self, step: Step) -> Record:
        return self.redis.steps[self.shape.at(step)]

    def put(self, step: Step, record: Record) -> None:
        old, at = self.get(step), self.shape.at(step)
        if old.state in TERMINAL:
            raise ProtocolError(f"{step} left its end {old.state} for {record.state}")
        steps = (*self.redis.steps[:at], record, *self.redis.steps[at + 1 :])
        self.redis = self.redis._replace(steps=steps)
        self.state = self.state._replace(redis=self.redis)

    def hand(self, number: int, hand: Hand | None) -> None:
        self.state = hold(self.state._replace(redis=self.redis), number, hand)

    def settle(self, step: Step, token: Token, outcome: str) -> bool:
        """An attempt has ended, or is lost. False: it is not the one that counts."""
        accepted = self._settle(step, token, outcome)
        if self.shape.limited and self.rules.fill_places:
            self.admit()
        return accepted

    def _settle(self, step: Step, token: Token, outcome: str) -> bool:
        record = self.get(step)
        if record.state in TERMINAL:
            return False
        is_held = record.state == "recovering"
        if not (outcome == "ok" or self.is_held_for(record, token) if is_held else record.token == token):
            if self.rules.fence_tokens:
                return False
            raise ProtocolError(f"{step} {record.token} takes the result of {token}")
        if outcome == "lost" and self.made(step, record.token):
            raise ProtocolError(f"{step} is tried again although {record.token} has left its result")
        if outcome != "ok" and self.is_over(step, token):
            raise ProtocolError(f"{step} {token} fails a second time")
        if outcome != "ok" and self._try_again(step, record, token, outcome):
            return True
        if outcome == "ok":
            self.end(step, "succeeded", token)
        else:
            self.end(step, "cancelled" if self.redis.control == "cancel" else "failed", token)
        return True

    def end(self, step: Step, state: str, token: Token) -> None:
        """The one end of a step: it counts into its children, and those that became ready go on their way."""
        self.put(step, self.get(step)._replace(state=state, token=token, owner=None))
        if state in GOOD:
            gathered = step in self.shape.parts and step not in self.shape.dynamic
            by_what = "gathered" if gathered else "answered" if step in self.shape.waits else self.shape.keys.get(step)
            self._accept(step, by_what or token)
        for kid in self.shape.children(step):
            at = self.shape.at(kid)
            counts = (*self.redis.counts[:at], self.redis.counts[at] + 1, *self.redis.counts[at + 1 :])
            self.redis = self.redis._replace(counts=counts)
            self._count(kid)
        whole = self.shape.whole(step)
        if whole is not None and self.is_gathered(whole):
            self.sent.append((whole, -self.redis.epoch))
        known = self.redis.opened if self.rules.know_when_opening else self.redis.asked
        settled = sum(record.state in TERMINAL for record in self.redis.steps)
        if not self.redis.over and settled == len(self.known(known)):
            self.redis = self.redis._replace(over=True, watched=True)
        self.state = self.state._replace(redis=self.redis)

    def known(self, opened: frozenset[Step]) -> list[Step]:
        """The steps of the plan, and of all that is opened."""
        return [step for step in self.shape.steps if self.shape.whole(step) in (None, *opened)]

    def ask(self, step: Step, record: Record) -> None:
        """What was waited for is over: the cache is looked up, and the step is sent when it has no answer."""
        key = self.shape.keys.get(step)
        if step in self.shape.waits:
            self.put(step, record._replace(state="parked"))
            self.answer(step)
        elif key in self.state.cache:
            self.put(step, record)
            self.end(step, "cached", record.token)
        else:
            self.ready(step, record)

    def answer(self, step: Step) -> None:
        """A step that waits ends by its answer, if there is one."""
        answer = dict(self.state.answers).get(step)
        if answer is not None and self.get(step).state == "parked":
            self.end(step, "succeeded" if answer == "ok" else "failed", self.get(step).token)

    def ready(self, step: Step, record: Record | None = None) -> None:
        self.put(step, (record or Record(token=(self.redis.epoch, 1)))._replace(state="ready", owner=None))
        self.admit()

    def admit(self) -> None:
        """What is ready is put in flight, and is to be published by whoever made the call."""
        if self.redis.control != "run" and self.rules.stop_when_paused:
            return
        for step in self.shape.steps:
            record = self.get(step)
            if record.state == "ready" and (self.has_place(step) or not self.rules.count_places):
                self.put(step, record._replace(state="sent"))
                self.sent.append((step, record.token[1]))

    def has_place(self, step: Step) -> bool:
        return step not in self.shape.limited or self.used() < self.shape.places

    def used(self) -> int:
        return sum(self.get(step).state in USES for step in self.shape.limited)

    def cancel_rest(self) -> None:
        for step in self.shape.steps:
            if self._is_to_cancel(step):
                self.end(step, "cancelled", self.get(step).token)

    def published(self) -> State:
        """For callers that publish at once: their crash in between is that of a lost message."""
        return told(self.state._replace(redis=self.redis), self.sent)

    def made(self, step: Step, token: Token) -> bool:
        """Whether an attempt has left a good result."""
        return any((name, made, outcome) == (step, token, "ok") for name, made, outcome in self.state.manifests)

    # Maps and plans

    def is_map(self, step: Step) -> bool:
        return step in self.shape.parts and step not in self.shape.dynamic

    def open(self, whole: Step, token: Token) -> None:
        """Its parts are known from now on. Only one plan of a step is ever opened."""
        if whole in self.shape.dynamic:
            self._accept(f"{whole}/", token)
        self.put(whole, self.get(whole)._replace(state="open", token=token, owner=None))
        self.redis = self.redis._replace(opened=self.redis.opened | {whole})
        self.state = self.state._replace(redis=self.redis)

    def mark(self, whole: Step) -> None:
        """All its parts were asked."""
        self.redis = self.redis._replace(asked=self.redis.asked | {whole})
        self.state = self.state._replace(redis=self.redis)

    def is_gathered(self, whole: Step) -> bool:
        parts = [self.get(part).state for part in self.shape.parts[whole]]
        return self.get(whole).state == "open" and all(state in TERMINAL for state in parts)

    def gather(self, whole: Step) -> None:
        """The end of a whole, by what its parts came to."""
        if self.is_gathered(whole):
            state = "cancelled" if self.redis.control == "cancel" else self.verdict(whole)
            self.end(whole, state, self.get(whole).token)

    def verdict(self, whole: Step) -> str:
        states = [self.get(part).state for part in self.shape.parts[whole]]
        wanted = self.shape.enough.get(whole, len(states))
        return "succeeded" if len(states) - sum(state in BAD for state in states) >= wanted else "failed"

    def _is_to_cancel(self, step: Step) -> bool:
        state, whole = self.get(step).state, self.shape.whole(step)
        if whole is not None and self.get(whole).state != "open":
            return False
        asked = state != "waiting" or whole is None or self.rules.cancel_what_was_not_asked
        return state in CANCELLABLE and asked

    def _count(self, kid: Step) -> None:
        record, parents = self.get(kid), self.shape.parents[kid]
        ready = self.redis.counts[self.shape.at(kid)] >= len(parents)
        if not ready or (record.state != "waiting" and self.rules.compare_and_set):
            return
        states = [self.get(parent).state for parent in parents]
        if self.redis.control == "cancel":
            self.end(kid, "cancelled", record.token)
        elif any(state in BAD for state in states):
            self.end(kid, "upstream_failed", record.token)
        elif "skipped" in states or self.shape.skips.get(kid) in parents:
            self.end(kid, "skipped", record.token)
        elif kid in self.shape.keys or kid in self.shape.waits or self.walks or self.is_map(kid):
            self.put(kid, Record("asking", (self.redis.epoch, 1)))
        else:
            self.ready(kid)

    def is_held_for(self, record: Record, token: Token) -> bool:
        """Whether this may be the attempt for which a rebuilt step is held."""
        is_later = token != record.token and token[1] >= record.token[1]
        return record.state == "recovering" and (is_later or not self.rules.fence_what_is_over)

    def is_over(self, step: Step, token: Token) -> bool:
        tried = self.state.tried[self.shape.at(step)] if self.state.tried else None
        return tried is not None and tried.over and tried.token == token

    def _try_again(self, step: Step, record: Record, ended: Token, outcome: str) -> bool:
        lost = outcome == "lost"
        used, allowed = (record.lost, self.shape.losses) if lost else (record.failed, self.shape.retries)
        if self.redis.control == "cancel" or used >= allowed:
            return False
        token = (self.redis.epoch, ended[1] + 1)
        following = Record("backoff", token, record.failed + (not lost), record.lost + lost)
        if lost:
            self.ready(step, following)
        else:
            self.put(step, following)
        return True

    def _accept(self, step: Step, made: Result) -> None:
        before = dict(self.state.accepted).get(step)
        if before is not None and before != made:
            raise ProtocolError(f"the result of {step} changed from {before} to {made}")
        accepted = tuple(sorted({*self.state.accepted, (step, made)}))
        self.state = self.state._replace(accepted=accepted)


def told(state: State, sent: Sequence[tuple[Step, int]]) -> State:
    """Messages on their way. Who says that something can be gathered and does not do so leaves it to others."""
    messages = [message for message in sent if message[1] > 0]
    return state._replace(messages=tuple(sorted((*state.messages, *messages))))
