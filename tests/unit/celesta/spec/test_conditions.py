"""What a branch decides, and what it refuses to decide."""

from enum import Enum
from typing import Any

import pytest

from celesta.blobs import MemoryBlobs
from celesta.codecs import encode
from celesta.errors import ConditionError
from celesta.spec.conditions import condition_problems, decide
from celesta.types import type_of


class Colour(Enum):
    RED = "r"
    BLUE = "b"


def _decide(test: Any, **given: Any) -> bool:
    blobs = MemoryBlobs()
    return decide(test, {name: encode(value, type_of(type(value)), blobs) for name, value in given.items()})


@pytest.mark.parametrize(
    ("name", "a", "b", "holds"),
    [
        ("ge", 0.93, 0.9, True), ("gt", 1, 1.0, False), ("le", 1, 1.0, True), ("lt", "a", "b", True),
        ("eq", 1, 1.0, True), ("eq", True, 1, False), ("ne", True, 1, True), ("eq", None, None, True),
        ("eq", None, 0, False), ("eq", "1", 1, False), ("eq", Colour.RED, Colour.RED, True),
        ("ne", Colour.RED, Colour.BLUE, True), ("lt", float("nan"), 1.0, False),
        ("gt", float("inf"), 10**30, True),
    ],
)  # fmt: skip
def test_values_compare_as_in_python_but_for_booleans_which_are_no_numbers(
    name: str, a: Any, b: Any, holds: bool
) -> None:
    assert _decide({"test": name, "of": ["a", "b"]}, a=a, b=b) is holds


@pytest.mark.parametrize("a", [True, False])
@pytest.mark.parametrize("b", [True, False])
def test_conditions_are_joined(a: bool, b: bool) -> None:
    assert _decide({"test": "and", "of": ["a", "b"]}, a=a, b=b) is (a and b)
    assert _decide({"test": "or", "of": ["a", {"test": "not", "of": ["b"]}]}, a=a, b=b) is (a or not b)


@pytest.mark.parametrize("value", [0, 1, "yes", "", None, 1.0, Colour.RED, [], [True], {"a": 1}])
def test_only_true_and_false_are_conditions(value: Any) -> None:
    with pytest.raises(ConditionError, match="a "):
        _decide("a", a=value)


@pytest.mark.parametrize(("a", "b"), [(1, "1"), (None, 1), (True, 1), (Colour.RED, Colour.BLUE), ([1], [2])])
def test_what_has_no_order_is_refused(a: Any, b: Any) -> None:
    with pytest.raises(ConditionError):
        _decide({"test": "lt", "of": ["a", "b"]}, a=a, b=b)


def test_a_value_that_lies_in_the_store_is_refused() -> None:
    with pytest.raises(ConditionError, match="large value"):
        _decide({"test": "eq", "of": ["a", "b"]}, a="x" * 5000, b="x")


@pytest.mark.parametrize(
    "test",
    ["c", None, 3, {}, {"test": "eq", "of": ["a"]}, {"test": "xor", "of": ["a", "b"]}, {"test": [], "of": []},
     {"test": "eq", "of": [{"test": "not", "of": ["a"]}, "b"]}, {"test": "not", "of": ["c"]}],
)  # fmt: skip
def test_what_is_no_test_is_told(test: Any) -> None:
    assert list(condition_problems(test, {"a": 1, "b": 2}, "steps.when.branch"))


def test_a_test_that_is_nested_without_end_is_told() -> None:
    test: Any = "a"
    for _ in range(100):
        test = {"test": "not", "of": [test]}
    assert list(condition_problems(test, {"a": 1}, "branch"))
