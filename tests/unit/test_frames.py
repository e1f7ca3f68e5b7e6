"""Whose line an error names."""

import pytest

from celesta import workflow
from celesta.errors import SpecError


@workflow
def ping() -> int:
    return pong()


@workflow
def pong() -> int:
    return ping()


def test_workflows_that_call_each_other_are_told_at_a_line_of_the_users():
    with pytest.raises(SpecError, match=r"test_frames\.py:\d+: workflows call each other"):
        ping.graph()
