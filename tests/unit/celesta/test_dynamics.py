"""What the body of a dynamic task comes to when it is traced, with the values of its inputs."""

from pathlib import Path

import pytest

from celesta.dynamics import dynamic
from celesta.errors import SpecError
from celesta.loading import load_file
from celesta.runtime.failures import error_document
from celesta.tasks import task
from celesta.workflows import workflow


@task
def double(n: int) -> int:
    return 2 * n


@workflow
def as_it_is(n: int) -> int:
    return n


@dynamic
def decides(n: int) -> int:
    return double(n=n) if n > 3 else as_it_is(n=n)


def test_a_body_may_call_tasks_or_none_and_so_may_a_workflow_inside_it() -> None:
    assert [step.path for step in decides.traced({"n": 4}).steps] == ["double"]
    assert decides.traced({"n": 3}).outputs == {"result": 3}
    assert not decides.traced({"n": 3}).steps


def test_a_part_of_a_workflow_may_call_no_task() -> None:
    @workflow
    def outer() -> int:
        return double(n=as_it_is(n=1))

    assert [step.path for step in outer.graph().steps] == ["double"]


WRONG = """
from celesta import dynamic, task

@task
def double(n: int) -> int:
    return 2 * n

@dynamic
def calls(n: int) -> int:
    return double(n="a")

@dynamic
def returns(n: int) -> int:
    double(n=n)
    return "text"
"""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("calls", "wrong.py:10: double(...) cannot run"),
        ("returns", 'wrong.py:12: dynamic task "returns" returns what does not fit its hint'),
    ],
)
def test_what_is_wrong_with_a_body_is_told_by_the_file_that_its_author_knows(
    name: str, told: str, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundles" / ("5a" * 32)
    bundle.mkdir(parents=True)
    (bundle / "wrong.py").write_text(WRONG)
    body = load_file(bundle / "wrong.py").find(name)
    with pytest.raises(SpecError) as caught:
        body.traced({"n": 1})
    document = error_document(caught.value, "user", str(bundle))
    assert document["message"].startswith(told)
    assert "graph.py" not in document["traceback"]
    assert ('File "wrong.py", line 10, in calls' in document["traceback"]) == (name == "calls")
