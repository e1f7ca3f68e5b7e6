"""The error tree: its drawing is true, and every error tells all problems."""

import re

import pytest

from celesta import errors
from celesta.errors import CelestaError, InputError, Problem, SpecError


def _all(cls: type[CelestaError]) -> list[type[CelestaError]]:
    return [cls, *(below for sub in cls.__subclasses__() for below in _all(sub))]


def test_the_drawn_tree_names_every_error_with_its_kind() -> None:
    drawn = dict(re.findall(r"── (\w+) .*(user|system)", errors.__doc__ or ""))
    assert drawn == {cls.__name__: cls.kind for cls in _all(CelestaError)[1:] if cls.__module__ == "celesta.errors"}


def test_each_error_has_a_code_of_its_own() -> None:
    codes = [cls.code for cls in _all(CelestaError) if cls.__module__ == errors.__name__]
    assert len(codes) == len(set(codes))


def test_an_input_error_tells_all_its_problems() -> None:
    error = SpecError([Problem("steps.a", "no such task"), Problem("", "no outputs")])
    assert isinstance(error, InputError)
    assert str(error) == "2 problems:\n  - steps.a: no such task\n  - no outputs"
    assert len(error.problems) == 2


def test_one_problem_is_told_in_one_line() -> None:
    assert str(InputError([Problem("n", "expected int")])) == "n: expected int"
    assert InputError("bad").problems == [Problem("", "bad")]


@pytest.mark.parametrize("cls", [errors.StoreError, errors.ServerUnreachable])
def test_what_is_unreachable_may_be_tried_again(cls: type[CelestaError]) -> None:
    assert cls.retryable
    assert cls.kind == "system"
