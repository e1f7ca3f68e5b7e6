"""What a run, its workers, Redis, the store and the database are at one moment of the explored protocol."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

Step = str
Token = tuple[int, int]
"""Epoch and attempt."""
Result = Token | str
"""What tells one result from another: the attempt that made it or, since results of one cache key stand for each other,
that key."""

GOOD = frozenset({"succeeded", "cached"})
BAD = frozenset({"failed", "upstream_failed", "cancelled"})
TERMINAL = GOOD | BAD | {"skipped"}
USES = frozenset({"sent", "running", "recovering"})
"""In which a step has a place of its limit."""
CANCELLABLE = frozenset({"waiting", "asking", "ready", "sent", "backoff", "flight_wait", "recovering", "parked"})


class ProtocolError(AssertionError):
    """A move broke an invariant."""


@dataclass(frozen=True)
class Shape:
    """The run: its steps in the plan's order, and how each may end."""

    parents: Mapping[Step, tuple[Step, ...]]
    outcomes: Mapping[Step, tuple[str, ...]] = field(default_factory=dict)
    """`ok` and `fail`; `ok` alone where nothing is said."""
    keys: Mapping[Step, str] = field(default_factory=dict)
    """Cache keys. Two steps with one key share a flight."""
    skips: Mapping[Step, Step] = field(default_factory=dict)
    """A step that is skipped when this parent ended by `skip`."""
    parts: Mapping[Step, tuple[Step, ...]] = field(default_factory=dict)
    """The items of a map, or the steps of the plan that a dynamic step opens. They are among `parents`, too."""
    dynamic: frozenset[Step] = frozenset()
    """Which of these are run first, by a worker, and then opened."""
    refused: frozenset[Step] = frozenset()
    """Of which of these the plan cannot be opened: they have failed by what their attempt left."""
    enough: Mapping[Step, int] = field(default_factory=dict)
    """How many items of a map have to succeed; all where nothing is said."""
    retries: int = 0
    losses: int = 2
    remembers: bool = False
    """The record has its attempts, too: for runs of one step, since of others there are too many histories."""
    waits: frozenset[Step] = frozenset()
    """Steps that wait for an answer, which may be that nobody answered in time. They have parents."""
    limited: frozenset[Step] = frozenset()
    """Of which together so many may be at work at once: `places`."""
    places: int = 0

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        return tuple(self.parents)

    @cached_property
    def _places(self) -> Mapping[Step, int]:
        return {step: place for place, step in enumerate(self.parents)}

    @cached_property
    def _wholes(self) -> Mapping[Step, Step]:
        return {part: whole for whole, parts in self.parts.items() for part in parts}

    def at(self, step: Step) -> int:
        """Its place in the plan, and in every tuple that has something of each step."""
        return self._places[step]

    def children(self, step: Step) -> list[Step]:
        return [kid for kid, parents in self.parents.items() if step in parents]

    def whole(self, part: Step) -> Step | None:
        """What a step is a part of."""
        return self._wholes.get(part)


class Faults(NamedTuple):
    """How often each may happen in one history."""

    crash: int = 0
    duplicate: int = 0
    sleep: int = 0
    lose_redis: int = 0
    cancel: int = 0
    pause: int = 0
    slow_start: int = 0
    """A rebuild that takes so long that others no longer believe in it."""


@dataclass(frozen=True)
class Rules:
    """The safeguards; each is on."""

    fence_attempts: bool = True
    fence_tokens: bool = True
    record_winners: bool = True
    look_for_manifests: bool = True
    guard_missing_runs: bool = True
    compare_and_set: bool = True
    stop_when_paused: bool = True
    know_when_opening: bool = True
    """A run knows the parts of what opens from the same moment on."""
    ask_each_once: bool = True
    mark_when_all_are_asked: bool = True
    fence_openers: bool = True
    """Who opens does so in one epoch."""
    open_once: bool = True
    """A plan is opened by the attempt that is accepted, in the call that accepts it."""
    gather_again: bool = True
    """Somebody looks whether the last part has ended and nobody said so."""
    cancel_what_was_not_asked: bool = True
    watch_until_told: bool = True
    """A run that is over stays watched until its end was said."""
    rebuild_by_results: bool = True
    """Until a rebuild is through, only who knows the earlier results asks steps."""
    refuse_in_rebuilds: bool = True
    """A rebuild refuses a plan although no attempt is in its hands."""
    raise_once: bool = True
    """An epoch is raised by one of those who read it, and never after the end of the run."""
    fence_starters: bool = True
    """While one rebuilds, nobody else makes the run known."""
    compare_epochs: bool = True
    """A run of which Redis has an older epoch than the record is begun again."""
    ask_the_record: bool = True
    """A wait ends by what the database says: the first answer, or that there was none in time."""
    count_places: bool = True
    """A step is sent when its limit has a place for it."""
    keep_budgets: bool = True
    """A rebuild goes on with the attempts that the record has."""
    fence_what_is_over: bool = True
    """Of an attempt that the record knows to be over, a rebuilt step hears no failure and no heartbeat."""
    fill_places: bool = True
    """Who leaves a place sends who waits for it, in the same call."""


class Record(NamedTuple):
    """A step in Redis."""

    state: str = "waiting"
    token: Token = (1, 1)
    failed: int = 0
    lost: int = 0
    owner: int | None = None


class Redis(NamedTuple):
    """What Redis knows of the run."""

    epoch: int
    control: str
    steps: tuple[Record, ...]
    counts: tuple[int, ...]
    """Settled parents of each step, as the scripts count them."""
    over: bool = False
    told: bool = False
    """The end was said, once."""
    watched: bool = False
    """The run has a deadline of its own, under which its opening, its cancellation or its end is gone on with."""
    opening: bool = False
    """A rebuild has not come to all steps yet."""
    opened: frozenset[Step] = frozenset()
    asked: frozenset[Step] = frozenset()
    """Which of the opened have asked all their parts."""


class Hand(NamedTuple):
    """What a worker has in hand: an attempt, and how far it is."""

    step: Step
    token: Token
    phase: str
    """`claimed`, `begun` (the body runs), `ended` (its result is there), `told` (it counts; messages go out next)."""
    outcome: str = ""
    send: tuple[tuple[Step, int], ...] = ()
    """Messages; a whole with an epoch below 0 is to be gathered in that epoch."""


class Opener(NamedTuple):
    """A process that asks the parts of a whole, one call for each."""

    whole: Step
    epoch: int
    token: Token
    """Of the attempt whose plan it opens; of a map, (epoch, 0)."""
    knows: bool
    """It rebuilds the run, and takes over the results that are there."""
    at: int = 0


class Starter(NamedTuple):
    """A process that rebuilds the run: the epoch that it met, or has raised."""

    epoch: int
    phase: str = "met"
    """`met`, `reads` (it has the lead, and what Redis had is gone), `knows` (it raises the epoch next), `raised` (it
    makes the run known next)."""
    leads: bool = False
    taken: tuple[tuple[str, Token] | None, ...] = ()
    """What it found of each step."""


class Tried(NamedTuple):
    """In the database: the attempts at a step that has not ended, of which `failed` and `lost` are over."""

    token: Token
    """Of the last one."""
    over: bool
    failed: int = 0
    lost: int = 0


class State(NamedTuple):
    redis: Redis | None
    forgotten: bool
    messages: tuple[tuple[Step, int], ...]
    hands: tuple[Hand | None, Hand | None]
    manifests: frozenset[tuple[Step, Token, str]]
    recorded: tuple[tuple[str, Token] | None, ...]
    """In the database: how each step ended, and by which token."""
    finished: bool
    control: str
    epoch: int
    cache: frozenset[str]
    flights: tuple[tuple[str, Step, Token], ...]
    starts: tuple[tuple[Step, Token], ...]
    accepted: tuple[tuple[Step, Result], ...]
    """Ghost: which result was ever accepted for each step, and whose plan for each that opened one (`step/`)."""
    left: Faults
    answers: tuple[tuple[Step, str], ...] = ()
    """In the database: one for each question, `ok` or `fail`."""
    openers: tuple[Opener, ...] = ()
    starters: tuple[Starter, ...] = ()
    tried: tuple[Tried | None, ...] = ()
    """Of each step, where the record remembers them."""


def hold(s: State, number: int, hand: Hand | None) -> State:
    return s._replace(hands=(hand, s.hands[1]) if number == 0 else (s.hands[0], hand))


def alike(s: State) -> State:
    """The one of two states that differ only in which worker has what in hand."""
    one, other = s.hands
    if other is None or (one is not None and one <= other):
        return s
    redis = s.redis and s.redis._replace(steps=tuple(_of_the_other(record) for record in s.redis.steps))
    return s._replace(hands=(other, one), redis=redis)


def _of_the_other(record: Record) -> Record:
    return record if record.owner is None else record._replace(owner=1 - record.owner)


def without_flight(s: State, hand: Hand) -> State:
    return s._replace(flights=tuple(flight for flight in s.flights if flight[1:] != (hand.step, hand.token)))


def less(faults: Faults, name: str) -> Faults:
    return faults._replace(**{name: getattr(faults, name) - 1})
