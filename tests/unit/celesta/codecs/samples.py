"""Classes of a user's, at the top of a module as they have to be."""

import datetime as dt
import enum
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pydantic

from celesta.files import File


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass(frozen=True)
class Point:
    x: float
    y: float = 0.0


@dataclass
class Trained:
    model: File
    score: float
    tags: list[str] = field(default_factory=list)
    seen: int = field(default=0, init=False)


@dataclass(frozen=True)
class Linked:
    """A field whose name is that of a tag."""

    ref: str


class Split(NamedTuple):
    train: Any
    test: Any


class Config(pydantic.BaseModel):
    rate: float
    layers: list[int] = [3]
    name: str = pydantic.Field("net", alias="Name")
    inner: Point | None = None


class Opaque:
    pass


@dataclass
class Defaults:
    """Fields that may be left out, and whose defaults the type document tells."""

    point: Point | None = None
    colour: Colour = Colour.BLUE
    tags: list[str] = field(default_factory=list)
    best: float = float("-inf")
    name: str | None = "x"


@dataclass
class Untold:
    """Defaults that plain JSON would give otherwise: only the class makes them."""

    any_colour: Any = Colour.RED
    day: dt.date | str = "2024-01-01"
    text: str | float = float("nan")
    names: list[str] = field(default_factory=lambda: ["made"])


class Settings(pydantic.BaseModel):
    rate: float = 0.5
    by_name: dict[str, float] = {}
    limit: int | None = None
