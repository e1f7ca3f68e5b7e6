"""A step's code can write to whoever waits for its answer: what is no answer is a failure of that step, and no more."""

import json
from pathlib import Path
from typing import Any

import pytest

from celesta.codecs import encode
from celesta.runtime.call import blank_result
from tests.fixtures.processes import wait_until
from tests.integration.executors.conftest import ANY
from tests.integration.executors.test_contract import is_gone, wait_for_pid
from workers.executors import attempts

REF = {"type": "json", "digest": "0" * 64, "size": 1}


def _forged(bench: Any, **changes: Any) -> dict[str, Any]:
    """The error of a step that answers by itself with this result."""
    document = bench.document("forge", answer="")
    result = blank_result(document) | {"status": "succeeded", "outputs": {"result": encode(1, ANY, bench.store)}}
    answer = json.dumps({"result": result | changes, "html": None, "checkpoint": None})
    document["inputs"]["answer"] = encode(answer, ANY, bench.store)
    result = bench.submit(document)
    return dict(bench.error(result)) if changes else dict(result)


def test_an_answer_that_could_be_the_steps_counts(bench: Any) -> None:
    assert _forged(bench)["status"] == "succeeded"


@pytest.mark.parametrize("answer", ["{", "[]", "7", "{}", '{"result": 7}', '{"result": {}, "html": 7}', "[" * 100_000])
def test_what_is_no_answer_fails_the_step(bench: Any, answer: str) -> None:
    error = bench.error(bench.run("forge", answer=answer))
    assert (error["type"], error["kind"]) == ("InvalidResult", "user")
    assert "forge" in error["message"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"outputs": {}}, "outputs"),
        ({"outputs": {"result": 7}}, "outputs.result"),
        ({"outputs": {"result": {**REF, "size": "big", "inline": 7}}}, "outputs.result"),
        ({"outputs": {"result": {**REF, "type": "list", "length": 1, "items": [7]}}}, "outputs.result"),
        ({"outputs": {"result": {**REF, "inline": {"ref": 7}}}}, "outputs.result"),
        ({"outputs": {"result": {**REF, "inline": float("nan")}}}, "no JSON form"),
        ({"run": "another"}, "run"),
        ({"status": "running"}, "status"),
        ({"error": {"type": "X", "message": 7, "traceback": "", "kind": "user"}}, "error"),
        ({"timings": {"started_ms": 1 << 62, "finished_ms": 0}}, "timings"),
        ({"dynamic": "0" * 64}, "dynamic"),
    ],
)
def test_a_result_that_cannot_be_the_steps_fails_it_and_says_why(bench: Any, changes: Any, named: str) -> None:
    error = _forged(bench, **changes)
    assert (error["type"], error["kind"]) == ("InvalidResult", "user")
    assert named in error["message"]


def test_an_answer_without_an_end_holds_nobody_up_and_its_step_is_ended(
    bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(attempts, "_ANSWER_SECONDS", 0.2)
    error = bench.error(bench.run("forge", answer="{", whole=False, started=str(tmp_path / "pid")))
    assert error["type"] == "InvalidResult"
    pid = wait_for_pid(tmp_path / "pid")
    wait_until(lambda: is_gone(pid), what="the end of the step that forged")
