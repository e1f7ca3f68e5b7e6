"""The engine's protocol as a set of states and moves, small enough to look at all of them.

One run of a few steps, two workers, and whatever may happen to them. A move is what one call of a script, one look at
the store, or one crash does; between any two moves anything else may happen. The names are those of `workers/engine`:
`claim`, `settle`, `admit`, `release`, `renew`, `resend`, `promote`. Maps and plans are in `wholes`, and in `rebuilding`
what follows the loss of Redis. What is left out is time (a lease may run out whenever its holder is dead, or, once,
while it sleeps), the admission window, limits of several runs, and sleeps.

`Rules` switches single safeguards off, so that the tests can show that each of them is needed.
"""

from collections.abc import Iterator

from tests.integration.model.rebuilding import Rebuilding, adopt_or_hold, remembered
from tests.integration.model.script import Script
from tests.integration.model.states import (
    TERMINAL,
    Faults,
    Hand,
    ProtocolError,
    Record,
    Redis,
    Rules,
    Shape,
    State,
    Step,
    Token,
    Tried,
    hold,
    less,
    without_flight,
)
from tests.integration.model.wholes import Move, Wholes


class Protocol:
    """All moves from a state."""

    def __init__(self, shape: Shape, faults: Faults, rules: Rules | None = None) -> None:
        self.shape = shape
        self.rules = rules or Rules()
        self.wholes = Wholes(shape, self.rules, adopt_or_hold)
        self.rebuilding = Rebuilding(shape, self.rules, self.wholes)
        self.first = self._opened(faults)

    def moves(self, s: State) -> Iterator[Move]:
        yield from self._messages(s)
        for number, hand in enumerate(s.hands):
            if hand is not None:
                yield from self._worker(s, number, hand)
        yield from self.wholes.moves(s)
        yield from self.rebuilding.moves(s)
        yield from self._reconciler(s)
        yield from self._people(s)

    def _opened(self, faults: Faults) -> State:
        nothing = tuple(None for _ in self.shape.steps)
        redis = Redis(1, "run", tuple(Record() for _ in nothing), tuple(0 for _ in nothing))
        blank = State(
            redis, False, (), (None, None), frozenset(), nothing, False, "run", 1, frozenset(), (), (), (), faults
        )._replace(tried=nothing if self.shape.remembers else ())
        opening = Script(self.shape, self.rules, blank)
        for step, parents in self.shape.parents.items():
            if not parents and self.shape.whole(step) is None:
                if opening.is_map(step):
                    opening.put(step, Record("asking"))
                else:
                    opening.ready(step)
        return opening.published()

    # Messages and workers

    def _messages(self, s: State) -> Iterator[Move]:
        for message in set(s.messages):
            rest = list(s.messages)
            rest.remove(message)
            without = s._replace(messages=tuple(rest))
            for number, hand in enumerate(s.hands):
                if hand is None:
                    yield f"claim {message} by {number}", False, self._claimed(without, number, *message)
                    break  # The two workers are alike.
            if s.left.crash:
                yield f"lose {message}", True, without._replace(left=less(s.left, "crash"))
            if s.left.duplicate:
                twice = tuple(sorted((*s.messages, message)))
                yield f"duplicate {message}", True, s._replace(messages=twice, left=less(s.left, "duplicate"))

    def _claimed(self, s: State, number: int, step: Step, attempt: int) -> State:
        if s.redis is None:
            if not self.rules.guard_missing_runs and not s.forgotten:
                return hold(s, number, Hand(step, (s.epoch, attempt), "claimed"))
            return s
        script = Script(self.shape, self.rules, s)
        record = script.get(step)
        if record.state != "sent" or (self.rules.fence_attempts and record.token[1] != attempt):
            return s
        if s.redis.control == "pause" and self.rules.stop_when_paused:
            script.ready(step, record)
        elif s.redis.control != "cancel":
            self._may_claim(s, step)
            token = record.token if self.rules.fence_attempts else (record.token[0], attempt)
            script.put(step, record._replace(state="running", owner=number))
            script.hand(number, Hand(step, token, "claimed"))
            self._flight(script, number, step, record)
        return script.published()

    def _may_claim(self, s: State, step: Step) -> None:
        """Who claimed in time may still begin late, with a token that counts no more; nobody claims what is done."""
        assert s.redis is not None
        if s.redis.control != "run":
            raise ProtocolError(f"{step} is claimed although the run is told to {s.redis.control}")
        accepted = {name for name, _ in s.accepted}
        if missing := set(self.shape.parents[step]) - accepted:
            raise ProtocolError(f"{step} is claimed before {missing}")
        whole = self.shape.whole(step)
        if whole is not None and s.redis.steps[self.shape.at(whole)].state != "open":
            raise ProtocolError(f"{step} is claimed although {whole} is not open")
        if step in accepted:
            raise ProtocolError(f"{step} is claimed again after its result counted")
        self._may_try(s, step)

    def _may_try(self, s: State, step: Step) -> None:
        """What the record knows of its attempts is never done again, nor spent again."""
        tried = s.tried[self.shape.at(step)] if s.tried else None
        record = Script(self.shape, self.rules, s).get(step)
        if tried is not None and (record.token[1] <= tried.token[1] or record.failed < tried.failed):
            raise ProtocolError(f"{step} is tried as {record.token} after {tried}")

    def _flight(self, script: Script, number: int, step: Step, record: Record) -> None:
        key = self.shape.keys.get(step)
        if key is None:
            return
        if key in script.state.cache:
            script.hand(number, None)
            script.end(step, "cached", record.token)
        elif any(flight[0] == key for flight in script.state.flights):
            script.hand(number, None)
            script.put(step, record._replace(state="flight_wait", owner=None))
        else:
            script.state = script.state._replace(flights=(*script.state.flights, (key, step, record.token)))

    def _worker(self, s: State, number: int, hand: Hand) -> Iterator[Move]:
        who = f"{number} {hand.step}{hand.token}"
        if hand.phase == "claimed":
            yield f"begin {who}", False, self._begun(s, number, hand)
        elif hand.phase == "begun":
            for outcome in self.shape.outcomes.get(hand.step, ("ok",)):
                yield f"end {who} {outcome}", False, self._ended(s, number, hand, outcome)
        elif hand.phase == "ended":
            yield f"complete {who}", False, self._completed(s, number, hand)
        else:
            yield f"publish {who}", False, self.wholes.gathered(hold(self._landed(s, hand), number, None), hand)
        if hand.phase in ("claimed", "begun") and s.redis is not None:
            yield from self._heartbeat(s, number, hand, who)
        if s.left.crash:
            yield f"crash {who}", True, hold(s, number, None)._replace(left=less(s.left, "crash"))

    def _begun(self, s: State, number: int, hand: Hand) -> State:
        if (hand.step, hand.token) in s.starts:
            raise ProtocolError(f"{hand.step} began twice as {hand.token}, with nothing recorded in between")
        return hold(s, number, hand._replace(phase="begun"))._replace(starts=(*s.starts, (hand.step, hand.token)))

    def _ended(self, s: State, number: int, hand: Hand, outcome: str) -> State:
        made = {step_token[:2] for step_token in s.manifests}
        manifests = s.manifests if (hand.step, hand.token) in made else s.manifests | {(hand.step, hand.token, outcome)}
        return hold(s, number, hand._replace(phase="ended", outcome=outcome))._replace(manifests=manifests)

    def _completed(self, s: State, number: int, hand: Hand) -> State:
        if s.redis is None:
            return hold(s, number, None)
        if hand.outcome == "ok" and hand.step in self.shape.dynamic:
            return self.wholes.completed(s, number, hand)
        script = Script(self.shape, self.rules, s)
        accepted = script.settle(hand.step, hand.token, hand.outcome)
        told = hand._replace(phase="told", outcome=hand.outcome if accepted else "stale", send=tuple(script.sent))
        script.hand(number, told)
        return script.state

    def _landed(self, s: State, hand: Hand) -> State:
        """The cache is written for what was accepted, and the flight is given back."""
        key = self.shape.keys.get(hand.step)
        if key and hand.outcome == "ok" and s.redis is not None:
            s = s._replace(cache=s.cache | {key})
        return without_flight(s, hand)

    def _heartbeat(self, s: State, number: int, hand: Hand, who: str) -> Iterator[Move]:
        """`renew`: a rebuilt run takes back what lives; a cancelled step is ended, a superseded one left."""
        script = Script(self.shape, self.rules, s)
        record = script.get(hand.step)
        if script.is_held_for(record, hand.token) and hand.token[0] < script.redis.epoch:
            if script.is_over(hand.step, hand.token):
                raise ProtocolError(f"{hand.step} {hand.token} is taken back after its end was recorded")
            script.put(hand.step, record._replace(state="running", token=hand.token, owner=number))
            yield f"take back {who}", False, script.state
        elif record.state == "running" and record.token == hand.token and record.owner == number:
            if script.redis.control == "cancel":
                script.hand(number, None)
                script.end(hand.step, "cancelled", hand.token)
                yield f"stop {who}", False, without_flight(script.published(), hand)
        elif record.state not in ("waiting", "asking"):
            yield f"give up {who}", False, without_flight(hold(s, number, None), hand)

    # The reconciler and the recorder

    def _reconciler(self, s: State) -> Iterator[Move]:
        if s.redis is None:
            return
        for step in self.shape.steps:
            yield from self._overdue(s, step)
        if s.redis.over and s.redis.watched:
            yield "tell the end", False, s._replace(redis=s.redis._replace(told=True, watched=False))
        yield from self._flights_run_out(s)
        recorded = self._recorded(s)
        if recorded != s:
            yield "record", False, recorded

    def _overdue(self, s: State, step: Step) -> Iterator[Move]:
        script = Script(self.shape, self.rules, s)
        record = script.get(step)
        if record.state == "sent" and s.redis is not None and s.redis.control == "run":
            message = (step, record.token[1])
            if message not in s.messages and not any(hand and message in hand.send for hand in s.hands):
                yield f"resend {step}", False, s._replace(messages=tuple(sorted((*s.messages, message))))
        elif record.state == "running":
            alive = any(hand and (hand.step, hand.token) == (step, record.token) for hand in s.hands)
            if not alive or s.left.sleep:
                left = less(s.left, "sleep") if alive else s.left
                script.state = script.state._replace(left=left)
                yield f"lease of {step}", alive, self._lease_ran_out(script, step, record)
        elif record.state == "recovering":
            yield f"recover {step}", False, self._nobody_said(script, step)
        elif record.state in ("asking", "open") and script.redis.opening and self.rules.rebuild_by_results:
            return
        elif record.state == "open" or (record.state == "asking" and script.is_map(step)):
            yield from self.wholes.reopened(s, step)
        elif record.state == "parked":
            yield f"time for {step}", False, self._out_of_time(script, step)
        elif record.state in ("backoff", "flight_wait", "asking") and script.redis.control != "cancel":
            script.ask(step, record)
            yield f"promote {step}", False, script.published()

    def _lease_ran_out(self, script: Script, step: Step, record: Record) -> State:
        found = [outcome for name, token, outcome in script.state.manifests if (name, token) == (step, record.token)]
        if found and self.rules.look_for_manifests:
            return self._taken(script, step, record.token, found[0])
        return self._taken(script, step, record.token, "lost")

    def _out_of_time(self, script: Script, step: Step) -> State:
        """The database says whether somebody answered first."""
        if dict(script.state.answers).get(step) is None:
            script.state = script.state._replace(answers=tuple(sorted((*script.state.answers, (step, "fail")))))
        elif not self.rules.ask_the_record:
            script.end(step, "failed", script.get(step).token)
        script.answer(step)
        return script.published()

    def _nobody_said(self, script: Script, step: Step) -> State:
        made = [token for name, token, outcome in script.state.manifests if name == step and outcome == "ok"]
        if made:
            return self._taken(script, step, max(made), "ok")
        record = script.get(step)
        script.ask(step, record._replace(token=(script.redis.epoch, record.token[1] + 1)))
        return script.published()

    def _taken(self, script: Script, step: Step, token: Token, outcome: str) -> State:
        """The reconciler says what became of an attempt."""
        if outcome == "ok" and step in self.shape.dynamic:
            opener = self.wholes.expanded(script, step, token)
            return script.published() if opener is None else self.wholes.with_opener(script.published(), opener)
        script.settle(step, token, outcome)
        return script.published()

    def _flights_run_out(self, s: State) -> Iterator[Move]:
        live = {(hand.step, hand.token) for hand in s.hands if hand}
        kept = tuple(flight for flight in s.flights if flight[1:] in live)
        if kept != s.flights:
            yield "flights run out", False, s._replace(flights=kept)

    def _recorded(self, s: State) -> State:
        """The recorder writes down what has ended, of the newest epoch; after the end of the run Redis forgets it."""
        assert s.redis is not None
        if s.redis.epoch < s.epoch:
            return s
        rows = tuple(
            (record.state, record.token) if record.state in TERMINAL and (old is None or old[0] == "pinned") else old
            for old, record in zip(s.recorded, s.redis.steps, strict=True)
        )
        s = s._replace(recorded=rows, tried=tuple(map(_tried, s.tried, s.redis.steps)))
        return s._replace(finished=True, redis=None, forgotten=True) if s.redis and s.redis.told else s

    # People, and Redis

    def _answers(self, s: State) -> Iterator[Move]:
        """Somebody answers what is asked: committed first, and then told to the engine."""
        for step in self.shape.waits:
            script = Script(self.shape, self.rules, s)
            if script.get(step).state != "parked":
                continue
            if step not in dict(s.answers):
                yield f"answer {step}", False, s._replace(answers=tuple(sorted((*s.answers, (step, "ok")))))
            else:
                script.answer(step)
                yield f"tell the answer to {step}", False, script.published()

    def _people(self, s: State) -> Iterator[Move]:
        if s.redis is None:
            return
        yield from self._answers(s)
        if s.left.lose_redis:
            lost = s._replace(redis=None, messages=(), cache=frozenset(), flights=(), left=less(s.left, "lose_redis"))
            lost = lost._replace(accepted=remembered(s, self.shape))
            yield "lose redis", True, lost
            yield "lose redis, and no message", True, lost._replace(messages=s.messages)
        if s.left.cancel and not s.redis.over and s.redis.control != "cancel":
            decided = s._replace(control="cancel", left=less(s.left, "cancel"))
            yield "cancel", True, decided._replace(redis=s.redis._replace(control="cancel", watched=True))
        if s.redis.control == "cancel":
            script = Script(self.shape, self.rules, s)
            script.cancel_rest()
            if script.published() != s:
                yield "cancel the rest", False, script.published()
        if s.left.pause and s.redis.control == "run" and not s.redis.over:
            paused = s._replace(control="pause", left=less(s.left, "pause"), redis=s.redis._replace(control="pause"))
            yield "pause", True, paused
        if s.redis.control == "pause":
            script = Script(self.shape, self.rules, s._replace(control="run"))
            script.redis = script.redis._replace(control="run")
            script.admit()
            yield "resume", False, script.published()


def _tried(old: Tried | None, record: Record) -> Tried | None:
    """What the record says of a step's attempts, told of what Redis has: of the one at work, or of the last one."""
    if record.state == "running":
        return Tried(record.token, False, record.failed, record.lost)
    spent = (old.failed, old.lost) if old is not None else (0, 0)
    if record.state in TERMINAL or (record.failed, record.lost) == spent:
        return old
    return Tried((record.token[0], record.token[1] - 1), True, record.failed, record.lost)
