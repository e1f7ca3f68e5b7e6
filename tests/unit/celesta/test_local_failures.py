"""Failures of local runs: budgets, policies, and what runs when a run has failed."""

from typing import Any

import pytest

from tests.unit.celesta.local_flow import Flow


def test_a_fail_fast_run_cancels_what_comes_after_a_failure(flow: Flow) -> None:
    def bad(x: int) -> int:
        raise ValueError(x)

    def good() -> int:
        return 1

    flow.step(flow.task(bad, "x"), map=["x"], x=[1, 2])
    flow.step(flow.task(good))
    flow.options = {"policy": "fail_fast"}
    run = flow.run()
    assert run.status == "failed"
    assert run.states == {"bad[0]": "failed", "bad[1]": "cancelled", "good": "cancelled"}


def test_each_kind_of_failure_has_a_budget_of_its_own_here_too(flow: Flow) -> None:
    failures: list[BaseException] = [MemoryError(), ValueError(), MemoryError(), ConnectionError()]

    def flaky() -> int:
        if failures:
            raise failures.pop(0)
        return 1

    policy = {"max": 2, "backoff_seconds": 0.0, "factor": 1.0, "out_of_memory": 2, "on": ["OSError", "ValueError"]}
    flow.step(flow.task(flaky, retry=policy))
    assert flow.run().status == "succeeded"
    failures.append(KeyError())
    assert flow.run(refresh=True).status == "failed", "it is not named"


@pytest.mark.parametrize("policy", ["continue", "fail_fast"])
def test_what_runs_on_a_failure_runs_when_there_is_one(flow: Flow, policy: str) -> None:
    told: list[Any] = []
    fails = [True]

    def work() -> int:
        if fails:
            raise ValueError("no")
        return 1

    def tell(failure: dict[str, Any]) -> None:
        told.append(failure)

    flow.options = {"policy": policy}
    flow.step(flow.task(work))
    flow.step(flow.task(tell, "failure", gives="", cache=None), failure={"failure": True})
    flow.steps[-1]["on_failure"] = True
    run = flow.run()
    assert (run.status, run.states) == ("failed", {"work": "failed", "tell": "succeeded"})
    assert (told[0]["path"], told[0]["type"], told[0]["message"]) == ("work", "ValueError", "no")
    fails.clear()
    assert flow.run().states == {"work": "succeeded"}
