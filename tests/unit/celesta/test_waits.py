"""What may be waited for, and how it is written into a spec."""

import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from celesta import approve, dynamic, sleep, task, wait_for
from celesta.answers import Answers, Typed, plain_of
from celesta.codecs import encode
from celesta.errors import InputError, SpecError
from celesta.local import LocalRun, local_store, run_local
from celesta.spec import validate, workflow_spec
from celesta.workflows import workflow
from tests.unit.celesta.local import flow


def _spec(function: Callable[..., Any]) -> dict[str, Any]:
    return workflow_spec(workflow(function), file=flow.__file__)[0]


def _release(limit: float = 0.5) -> bool:
    ok = approve("Deploy?", timeout="1h", default=False, role="owner")
    sleep(limit, after=ok)
    wait_for("threshold", float, after=ok)
    return ok


def test_a_wait_is_a_step_of_its_own_kind() -> None:
    spec = _spec(_release)
    steps = {step["path"]: step for step in spec["steps"]}
    assert {path: spec["tasks"][step["task"]]["kind"] for path, step in steps.items()} == {
        "approve": "approve",
        "sleep": "sleep",
        "threshold": "wait_for",
    }
    assert steps["approve"]["options"]["timeout_seconds"] == 3600
    assert steps["approve"]["options"]["answer"]["role"] == "owner"
    assert steps["approve"]["options"]["answer"]["default"]["inline"] is False
    assert steps["sleep"]["inputs"] == {"seconds": {"input": "limit"}}
    assert steps["threshold"]["after"] == ["approve"]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lambda: approve("?", timeout=0), "no duration above 0"),
        (lambda: approve("?", default=True), "give timeout= as well"),
        (lambda: approve("?", timeout=1, default="yes"), "default"),  # type: ignore[arg-type]
        (lambda: approve("?", role="viewer"), "is no role"),
        (lambda: approve(3), "message"),  # type: ignore[arg-type]
        (lambda: wait_for("a/b", int), "is no name"),
        (lambda: wait_for("n", int, timeout=1, default="x"), "default"),
        (lambda: sleep("soon"), "is no duration"),
        (lambda: sleep(-1), "is no duration"),
        (lambda: sleep(1e12), "is no duration"),
        (lambda: approve.map(["a", "b"]), r"test_waits\.py:\d+: approve.* cannot be mapped over: call it in a loop"),  # type: ignore[attr-defined]
        (lambda: sleep.map([1, 2]), "cannot be mapped over"),  # type: ignore[attr-defined]
    ],
)
def test_what_cannot_be_waited_for_is_refused_at_its_line(wrong: Callable[[], object], why: str) -> None:
    def flow() -> None:
        wrong()

    with pytest.raises(SpecError, match=why) as caught:
        _spec(flow)
    assert "test_waits.py" in str(caught.value)


def test_a_forged_question_is_refused() -> None:
    def flawed(change: Callable[[dict[str, Any], dict[str, Any]], None]) -> str:
        spec = _spec(_release)
        change(spec, spec["steps"][0])
        return "; ".join(str(problem) for problem in validate(spec))

    assert "is missing" in flawed(lambda spec, step: step["options"].pop("answer"))
    assert "cannot be mapped over" in flawed(lambda spec, step: step.update(map=["message"]))
    assert "is not valid" in flawed(lambda spec, step: step["options"]["answer"].update(role="anyone"))
    assert "is not that of approve" in flawed(
        lambda spec, step: spec["tasks"]["approve"]["interface"]["inputs"].clear()
    )
    assert "bool is wanted" in flawed(lambda spec, step: step["options"]["answer"]["default"].update(inline=3))


def test_answers_given_beforehand_answer_a_local_run(tmp_path: Path) -> None:
    spec = _spec(_release)
    limit = {"limit": encode(0.0, {"kind": "float"}, None)}
    run = run_local(spec, limit, tmp_path, answers={"approve": True, "threshold": 0.5})
    assert (run.status, run.document()["outputs"]) == ("succeeded", {"result": True})


def test_a_local_run_that_nobody_can_answer_does_not_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(InputError) as caught:
        run_local(_spec(_release), {}, tmp_path, answers={"approve": 3, "nobody": 1})
    assert {problem.where for problem in caught.value.problems} == {"approve", "nobody", "threshold"}


@task
def length(text: str) -> float:
    return float(text)


@dynamic
def asks(times: int) -> bool:
    return approve("Sure?", name="ask") if times else True


def _run(function: Callable[..., Any], home: Path, inputs: dict[str, Any], **options: Any) -> LocalRun:
    spec, blobs = workflow_spec(workflow(function), file=__file__)
    for data in blobs.values():
        local_store(home).put_blob(data)
    refs = {name: encode(value, {"kind": "any"}, None) for name, value in inputs.items()}
    return run_local(spec, refs, home, **options)


@pytest.mark.parametrize("text", ["inf", "nan", "1e12", "-1"])
def test_a_time_that_is_none_fails_its_step_as_on_a_server(text: str, tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []

    def waits(text: str) -> None:
        sleep(length(text=text))

    run = _run(waits, tmp_path, {"text": text}, on_event=events.append)
    assert run.error is not None
    assert (run.status, run.states["sleep"], run.error["path"]) == ("failed", "failed", "sleep")
    assert "is no number of seconds from 0 to" in run.error["message"]
    assert events[-1]["kind"] == "run.finished"


def _once(times: int) -> bool:
    return asks(times=times)


def test_a_question_below_a_dynamic_step_is_answered_beforehand(tmp_path: Path) -> None:
    given = {"asks/ask": True, "asks/never": 1}
    run = _run(_once, tmp_path, {"times": 1}, answers=given)
    assert (run.status, run.document()["outputs"]) == ("succeeded", {"result": True})
    assert run.not_asked == ["asks/never"]


def test_what_a_failed_question_below_a_dynamic_step_advises_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    run = _run(_once, tmp_path, {"times": 1})
    assert run.error is not None
    advised = re.search(r"--answer (\S+)=true", run.error["message"])
    assert advised is not None
    assert _run(_once, tmp_path, {"times": 1}, answers={advised[1]: True}).status == "succeeded"


def test_an_answer_that_does_not_fit_fails_the_question_below_a_dynamic_step(tmp_path: Path) -> None:
    run = _run(_once, tmp_path, {"times": 1}, answers={"asks/ask": 3})
    assert run.error is not None
    assert (run.status, run.error["path"]) == ("failed", "asks/ask")


STR, NONE, INT = {"kind": "str"}, {"kind": "none"}, {"kind": "int"}


@pytest.mark.parametrize(
    ("text", "wanted", "value"),
    [
        ("3", STR, "3"),
        ('"3"', STR, "3"),
        ("true", STR, "true"),
        ("3", {"kind": "union", "of": [STR, NONE]}, "3"),
        ("null", {"kind": "union", "of": [STR, NONE]}, None),
        ("3", {"kind": "union", "of": [STR, INT]}, 3),
        ("3", INT, 3),
        ("high", INT, "high"),
        ("3", None, 3),
    ],
)
def test_what_is_typed_for_a_text_is_text(text: str, wanted: dict[str, Any] | None, value: Any, tmp_path: Path) -> None:
    assert plain_of(text, wanted) == value
    if wanted == STR:
        store = local_store(tmp_path)
        assert Answers({"name": Typed(text)}).ref("name", "wait_for", wanted, "", store)["inline"] == value


def test_an_answer_below_no_dynamic_step_is_refused_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="asked/ask: is answered, and no step of this name asks"):
        _run(_once, tmp_path, {"times": 1}, answers={"asked/ask": True})


def test_a_terminal_is_asked_again_until_the_answer_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = io.StringIO("perhaps\ny\n")
    monkeypatch.setattr(typed, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", typed)
    assert Answers().python("approve", "approve", {"kind": "bool"}, "Deploy?") is True
