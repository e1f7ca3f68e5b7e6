"""Hints as data: each kind of hint, each kind of value, and which fits which."""

import datetime as dt
import enum
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, TypedDict, Union

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import pytest

from celesta.errors import Problem, SpecError
from celesta.types import Pickle, accepts, check, spell, type_of


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Params:
    depth: int
    rate: float = 0.1
    tags: list[str] = field(default_factory=list)


@dataclass
class Tree:
    left: Optional["Tree"] = None


class Split(NamedTuple):
    train: list[int]
    test: list[int]


class Model(pydantic.BaseModel):
    name: str
    size: int = 3


class Row(TypedDict):
    a: int


class Plain:
    pass


UserId = NewType("UserId", int)
INT, FLOAT, STR, NONE, ANY = ({"kind": k} for k in ("int", "float", "str", "none", "any"))


@pytest.mark.parametrize(
    ("hint", "doc"),
    [
        (int, INT),
        (Any, ANY),
        (None, NONE),
        (dt.datetime, {"kind": "datetime"}),
        (dt.date, {"kind": "date"}),
        (list[int], {"kind": "list", "items": INT}),
        (list, {"kind": "list", "items": ANY}),
        (Sequence[float], {"kind": "list", "items": FLOAT}),
        (Mapping[str, int], {"kind": "dict", "keys": STR, "values": INT}),
        (frozenset[int], {"kind": "set", "items": INT, "frozen": True}),
        (tuple[int, str], {"kind": "tuple", "items": [INT, STR]}),
        (tuple[int, ...], {"kind": "tuple", "items": [], "rest": INT}),
        (Optional[int], {"kind": "union", "of": [INT, NONE]}),  # noqa: UP045
        (Union[int, str, None], {"kind": "union", "of": [INT, STR, NONE]}),  # noqa: UP007
        (int | str, {"kind": "union", "of": [INT, STR]}),
        (Literal["a", 1], {"kind": "literal", "values": ["a", 1]}),
        (Annotated[int, "how many"], INT),
        (UserId, INT),
        (Row, {"kind": "dict", "keys": STR, "values": ANY}),
        (np.ndarray, {"kind": "ndarray"}),
        (npt.NDArray[np.float64], {"kind": "ndarray"}),
        (np.float32, FLOAT),
        (np.int64, INT),
        (pd.DataFrame, {"kind": "table", "flavour": "pandas"}),
        (pl.DataFrame, {"kind": "table", "flavour": "polars"}),
        (pa.Table, {"kind": "table", "flavour": "arrow"}),
        (Pickle[Plain], {"kind": "pickle"}),
    ],
)
def test_a_hint_becomes_its_document(hint: Any, doc: dict[str, Any]) -> None:
    assert type_of(hint) == doc


def test_an_enum_names_its_members() -> None:
    doc = type_of(Colour)
    assert doc == {"kind": "enum", "name": f"{__name__}:Colour", "members": {"RED": "red", "BLUE": "blue"}}


def test_a_record_lists_its_fields_with_what_is_required() -> None:
    doc = type_of(Params)
    assert (doc["kind"], doc["name"]) == ("dataclass", f"{__name__}:Params")
    assert doc["fields"] == [
        {"name": "depth", "type": INT, "required": True},
        {"name": "rate", "type": FLOAT, "required": False, "default": 0.1},
        {"name": "tags", "type": {"kind": "list", "items": STR}, "required": False, "default": []},
    ]
    assert type_of(Split)["kind"] == "namedtuple"
    assert [f["required"] for f in type_of(Model)["fields"]] == [True, False]
    assert type_of(namedtuple("Pair", "a b"))["fields"][0]["type"] == ANY


def test_a_class_that_holds_itself_ends() -> None:
    assert type_of(Tree)["fields"][0]["type"] == {"kind": "union", "of": [ANY, NONE]}


@pytest.mark.parametrize(
    ("hint", "advice"),
    [
        (Plain, "Pickle[Plain]"),
        (Path, "celesta.File"),
        (Iterator[int], "return a list"),
        (Literal[b"x"], "a literal is"),
        (list[Plain], "Pickle[Plain]"),
    ],
)
def test_a_hint_that_cannot_be_stored_is_refused_with_what_to_write(hint: Any, advice: str) -> None:
    with pytest.raises(SpecError) as caught:
        type_of(hint)
    assert advice in str(caught.value)


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (int, [1, np.int64(1)], [True, 1.0, "1", None, Colour.RED]),
        (float, [1, 1.5, np.float32(1)], [True, "1.5"]),
        (bool, [True, np.bool_(True)], [1]),
        (dt.date, [dt.date(2026, 1, 1)], [dt.datetime(2026, 1, 1, tzinfo=dt.UTC)]),
        (int | None, [None, 3], ["x"]),
        (Literal["a", 1], ["a", 1], ["b", True]),
        (list[int], [[1, 2], []], [(1, 2), [1, "x"]]),
        (tuple[int, str], [(1, "a")], [(1,), ("a", 1), [1, "a"]]),
        (tuple[int, ...], [(), (1, 2)], [("a",)]),
        (dict[str, int], [{"a": 1}], [{1: 1}, {"a": "b"}]),
        (Colour, [Colour.RED], ["red"]),
        (Params, [Params(1)], [Params("x"), {"depth": 1}]),  # type: ignore[arg-type]
        (Model, [Model(name="m")], [{"name": "m"}]),
        (np.ndarray, [np.zeros(3)], [[0.0]]),
        (pd.DataFrame, [pd.DataFrame()], [pl.DataFrame(), {}]),
        (Any, [object()], []),
    ],
)
def test_a_value_is_held_against_its_type(hint: Any, good: list[Any], bad: list[Any]) -> None:
    doc = type_of(hint)
    assert [check(value, doc) for value in good] == [[]] * len(good)
    assert all(check(value, doc) for value in bad)


def test_a_problem_says_where_in_the_value_it_is() -> None:
    doc = type_of(dict[str, list[Params]])
    problems = check({"a": [Params(1), Params(2, "fast")]}, doc, "grid")  # type: ignore[arg-type]
    assert problems == [Problem("grid['a'][1].rate", "expected float, got 'fast' (str)")]


def test_problems_of_one_value_are_told_up_to_a_limit() -> None:
    assert len(check(["x"] * 1000, type_of(list[int]), "n")) == 20


@pytest.mark.parametrize(
    ("wanted", "given", "fits"),
    [
        (float, int, True),
        (int, float, False),
        (int, bool, False),
        (float | None, int, True),
        (int, int | None, False),
        (int | str | None, int | None, True),
        (list[float], list[int], True),
        (list[int], int, False),
        (list[int], list, True),
        (Any, int, True),
        (str, Literal["a", "b"], True),
        (Literal["a", "b", "c"], Literal["a"], True),
        (Literal["a"], Literal["a", "b"], False),
        (Literal["a"], str, False),
        (Params, Params, True),
        (Params, Tree, False),
        (tuple[float, ...], tuple[int, int], True),
        (tuple[int, int], tuple[int, ...], False),
        (pd.DataFrame, pl.DataFrame, False),
        (dict[str, float], dict[str, int], True),
    ],
)
def test_what_is_given_fits_what_is_wanted(wanted: Any, given: Any, fits: bool) -> None:
    reason = accepts(type_of(wanted), type_of(given))
    assert (reason is None) is fits
    if reason:
        assert spell(type_of(wanted)) in reason


def test_types_are_spelled_as_people_write_them() -> None:
    assert spell(type_of(dict[str, list[Params | None]])) == "dict[str, list[Params | None]]"


def test_no_data_library_is_imported_by_reading_hints() -> None:
    code = (
        "import sys; from celesta.types import type_of, check; check([1], type_of(list[int]));"
        "sys.exit(bool({'numpy', 'pandas', 'polars', 'pyarrow', 'pydantic'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0
