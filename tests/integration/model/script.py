"""One atomic call of a script of the engine, on a state of the explored protocol."""

from tests.integration.model.states import (
    BAD,
    CANCELLABLE,
    GOOD,
    TERMINAL,
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

    def __init__(self, shape: Shape, rules: Rules, state: State) -> None:
        assert state.redis is not None
        self.shape, self.rules, self.state, self.redis = shape, rules, state, state.redis
        self.sent: list[tuple[Step, int]] = []

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
        record = self.get(step)
        if record.state in TERMINAL:
            return False
        current = record.token == token or record.state == "recovering"
        if not current:
            if self.rules.fence_tokens:
                return False
            raise ProtocolError(f"{step} {record.token} takes the result of {token}")
        if outcome == "lost" and self._made(step, record.token):
            raise ProtocolError(f"{step} is tried again although {record.token} has left its result")
        if outcome != "ok" and self._try_again(step, record, outcome):
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
            self._accept(step, self.shape.keys.get(step) or token)
        for kid in self.shape.children(step):
            at = self.shape.at(kid)
            counts = (*self.redis.counts[:at], self.redis.counts[at] + 1, *self.redis.counts[at + 1 :])
            self.redis = self.redis._replace(counts=counts)
            self._count(kid)
        self.state = self.state._replace(redis=self.redis)
        if all(record.state in TERMINAL for record in self.redis.steps):
            self.redis = self.redis._replace(over=True)
            self.state = self.state._replace(redis=self.redis)

    def ask(self, step: Step, record: Record) -> None:
        """What was waited for is over: the cache is looked up, and the step is sent when it has no answer."""
        key = self.shape.keys.get(step)
        if key in self.state.cache:
            self.put(step, record)
            self.end(step, "cached", record.token)
        else:
            self.ready(step, record)

    def ready(self, step: Step, record: Record | None = None) -> None:
        self.put(step, (record or Record(token=(self.redis.epoch, 1)))._replace(state="ready", owner=None))
        self.admit()

    def admit(self) -> None:
        """What is ready is put in flight, and is to be published by whoever made the call."""
        if self.redis.control != "run" and self.rules.stop_when_paused:
            return
        for step in self.shape.steps:
            record = self.get(step)
            if record.state == "ready":
                self.put(step, record._replace(state="sent"))
                self.sent.append((step, record.token[1]))

    def cancel_rest(self) -> None:
        for step in self.shape.steps:
            if self.get(step).state in CANCELLABLE:
                self.end(step, "cancelled", self.get(step).token)

    def published(self) -> State:
        """For callers that publish at once: their crash in between is that of a lost message."""
        return self.state._replace(redis=self.redis, messages=tuple(sorted((*self.state.messages, *self.sent))))

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
        elif kid in self.shape.keys:
            self.put(kid, Record("asking", (self.redis.epoch, 1)))
        else:
            self.ready(kid)

    def _try_again(self, step: Step, record: Record, outcome: str) -> bool:
        lost = outcome == "lost"
        used, allowed = (record.lost, self.shape.losses) if lost else (record.failed, self.shape.retries)
        if self.redis.control == "cancel" or used >= allowed:
            return False
        token = (self.redis.epoch, record.token[1] + 1)
        following = Record("backoff", token, record.failed + (not lost), record.lost + lost)
        if lost:
            self.ready(step, following)
        else:
            self.put(step, following)
        return True

    def _made(self, step: Step, token: Token) -> bool:
        return any((name, made, outcome) == (step, token, "ok") for name, made, outcome in self.state.manifests)

    def _accept(self, step: Step, made: Result) -> None:
        before = dict(self.state.accepted).get(step)
        if before is not None and before != made:
            raise ProtocolError(f"the result of {step} changed from {before} to {made}")
        accepted = tuple(sorted({*self.state.accepted, (step, made)}))
        self.state = self.state._replace(accepted=accepted)
