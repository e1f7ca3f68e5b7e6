"""Failures of local runs: budgets, policies, and what runs when a run has failed."""

from pathlib import Path
from typing import Any

import pytest

from celesta import dynamic, task, workflow
from celesta.codecs import encode
from celesta.local import local_store, run_local
from celesta.spec import workflow_spec
from tests.unit.celesta.local.flow import Flow, out


def count(xs: list[Any]) -> int:
    return len(xs)


@task
def positive(x: int) -> int:
    print(f"looks at {x}")
    if x <= 0:
        raise ValueError(f"{x} is none")
    return x


@dynamic
def opened(x: int) -> int:
    return positive(x=x)


@workflow(policy="fail_fast")
def tolerant(xs: list[int]) -> list[int | None]:
    found: list[int | None] = opened.map(x=xs, min_success_ratio=0.5)
    return found


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


@pytest.mark.parametrize("policy", ["continue", "fail_fast"])
@pytest.mark.parametrize(("ratio", "enough"), [(0.5, True), (0.9, False)])
def test_an_item_that_a_map_may_miss_stops_nothing(flow: Flow, policy: str, ratio: float, enough: bool) -> None:
    def each(x: int) -> int:
        if x == 0:
            raise ValueError("none")
        return x

    flow.step(flow.task(each, "x", min_success_ratio=ratio), map=["x"], x=[0, 1, 2, 3])
    flow.step(flow.task(count, "xs"), xs=out("each"))
    flow.options = {"policy": policy}
    flow.outputs = {"result": out("each")}
    run = flow.run()
    items = {"each[0]": "failed", "each[1]": "succeeded", "each[2]": "succeeded", "each[3]": "succeeded"}
    assert {path: state for path, state in run.states.items() if path != "count"} == items
    if enough:
        assert (run.status, run.error, flow.value(run)) == ("succeeded", None, [None, 1, 2, 3])
        return
    assert run.error is not None
    assert (run.error["path"], run.error["type"], run.status) == ("each", "ValueError", "failed")
    assert run.error["message"] == "1 of its items did not succeed; the first to fail was each[0]: none"
    assert run.states["count"] == ("cancelled" if policy == "fail_fast" else "upstream_failed")


@pytest.mark.parametrize(
    ("xs", "states"),
    [
        ([0, 1, 2, 3], ["failed", "succeeded", "succeeded", "succeeded"]),
        ([0, 1, 0, 0], ["failed", "succeeded", "failed", "failed"]),
    ],
)
def test_what_a_missed_item_opened_stops_nothing_either(xs: list[int], states: list[str], tmp_path: Path) -> None:
    spec, blobs = workflow_spec(tolerant, file=__file__)
    store = local_store(tmp_path)
    for data in blobs.values():
        store.put_blob(data)
    run = run_local(spec, {"xs": encode(xs, {"kind": "list", "items": {"kind": "int"}}, store)}, tmp_path)
    assert [run.states[f"opened[{item}]/positive"] for item in range(4)] == states
    if states.count("failed") == 1:
        assert (run.status, run.document()["outputs"]) == ("succeeded", {"result": [None, 1, 2, 3]})
    else:
        assert run.error is not None
        first = "the first to fail was opened[0]/positive: 0 is none"
        assert run.error["message"] == f"3 of its items did not succeed; {first}"
        assert run.log is not None


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
