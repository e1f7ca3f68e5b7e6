"""What the body of a dynamic task comes to when it is traced, with the values of its inputs."""

from celesta.dynamics import dynamic
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
