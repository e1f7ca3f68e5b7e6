"""What a run, its workers, Redis, the store and the database are at one moment of the explored protocol."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

Step = str
Token = tuple[int, int]
"""Epoch and attempt."""
Result = Token | str
"""What tells one result from another: the attempt that made it or, since results of one cache key stand for each other,
that key."""

GOOD = frozenset({"succeeded", "cached"})
BAD = frozenset({"failed", "upstream_failed", "cancelled"})
TERMINAL = GOOD | BAD | {"skipped"}
CANCELLABLE = frozenset({"waiting", "asking", "ready", "sent", "backoff", "flight_wait", "recovering"})


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
    retries: int = 0
    losses: int = 2

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(self.parents)

    def at(self, step: Step) -> int:
        """Its place in the plan, and in every tuple that has something of each step."""
        return self.steps.index(step)

    def children(self, step: Step) -> list[Step]:
        return [kid for kid, parents in self.parents.items() if step in parents]


@dataclass(frozen=True)
class Faults:
    """How often each may happen in one history."""

    crash: int = 0
    duplicate: int = 0
    sleep: int = 0
    lose_redis: int = 0
    cancel: int = 0
    pause: int = 0


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


class Hand(NamedTuple):
    """What a worker has in hand: an attempt, and how far it is."""

    step: Step
    token: Token
    phase: str
    """`claimed`, `begun` (the body runs), `ended` (its result is there), `told` (it counts; messages go out next)."""
    outcome: str = ""
    send: tuple[tuple[Step, int], ...] = ()


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
    """Ghost: which result was ever accepted for each step."""
    left: Faults


def hold(s: State, number: int, hand: Hand | None) -> State:
    return s._replace(hands=(hand, s.hands[1]) if number == 0 else (s.hands[0], hand))


def without_flight(s: State, hand: Hand) -> State:
    return s._replace(flights=tuple(flight for flight in s.flights if flight[1:] != (hand.step, hand.token)))


def less(faults: Faults, name: str) -> Faults:
    used: dict[str, Any] = {name: getattr(faults, name) - 1}
    return replace(faults, **used)
