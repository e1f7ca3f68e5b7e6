"""Classes of a user's, at the top of a module as they have to be."""

import datetime as dt
import enum
from dataclasses import InitVar, dataclass, field
from typing import Annotated, Any, NamedTuple

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


@dataclass
class Rate:
    percent: float

    def __post_init__(self) -> None:
        self.percent /= 100
        self.seen = True


@dataclass(frozen=True, slots=True)
class Scaled:
    """Takes what it does not keep, and refuses what it made."""

    length: int
    factor: InitVar[int]
    names: list[str] | None = None

    def __post_init__(self, factor: int) -> None:
        object.__setattr__(self, "length", self.length * factor)
        object.__setattr__(self, "names", self.names or [])


@dataclass
class Doubled:
    x: int

    def __init__(self, x: int) -> None:
        if x > 2:
            raise ValueError("too large")
        self.x = x * 2


class Raised(pydantic.BaseModel, frozen=True, extra="allow"):
    a: int
    text: Annotated[str, pydantic.StringConstraints(to_upper=True)] = "x"
    _private: int = pydantic.PrivateAttr(7)

    @pydantic.field_validator("a")
    @classmethod
    def raised(cls, a: int) -> int:
        if a > 2:
            raise ValueError("too large")
        return a + 1


class Finished(pydantic.BaseModel):
    a: int
    total: int = 0

    def model_post_init(self, context: Any, /) -> None:
        self.total += self.a


class Node(pydantic.BaseModel):
    """Its type document ends at the second level."""

    name: str
    child: "Node | None" = None
