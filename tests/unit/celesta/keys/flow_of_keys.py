"""A workflow that reaches one of each: a constant, a class, a closure, a default, an enum. For the tests of keys.

Its keys are pinned: an edit here is an edit of code, and changes them.
"""

import datetime
import enum
import functools
from dataclasses import dataclass, field

from celesta import Cache, task, workflow

RATE = 0.5
TABLE = {"a": (1, 2.0), "b": {3, 4}, "c": None, "d": frozenset("xyz")}
WIDTH = 8


class Kind(enum.Enum):
    FAST = "fast"
    SLOW = "slow"


@dataclass(frozen=True)
class Params:
    rate: float = RATE
    names: list[str] = field(default_factory=lambda: ["x"])


class Model:
    depth = 3

    def fit(self, x: float) -> float:
        return scaled(x) * self.depth


def scaled(x: float, *, by: float = 2.0) -> float:
    return x * by + RATE


def make(k: int):
    def inner(x: float) -> float:
        return x + k

    return inner


shifted = make(4)
doubled = functools.partial(scaled, by=4.0)


@task(cache=True)
def train(x: float, params: Params = Params(), kind: Kind = Kind.FAST, label: str = "a") -> float:
    match kind:
        case Kind.FAST if (y := shifted(x)) > 0:
            return Model().fit(y) + doubled(len(f"{label!r:>{WIDTH}}"))
        case _:
            return sum(v for v in (params.rate, *[1, 2][:1])) + len(TABLE)


@task(cache=Cache(version="v1", ignore=["verbose"]))
async def load(when: datetime.date, raw: bytes, verbose: bool = False) -> list[int]:
    return [when.day, *raw]


@workflow
def keys() -> list[float]:
    load(datetime.date(2024, 2, 29), b"\x00\xff")
    load(when=datetime.date(2024, 2, 29), raw=b"\x00\xff", verbose=True)
    positional = train(1.0, Params(), Kind.SLOW)
    named = train(kind=Kind.SLOW, x=1.0)
    return [positional, named, train(x=float("nan")), train(x=-0.0, label="ä\N{SNOWMAN}")]
