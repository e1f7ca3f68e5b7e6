"""Each construct used wrongly gets an error that says what to do: on a real stack, as a stranger meets it."""

from pathlib import Path
from typing import Any

import pytest

from celesta.client import Client
from tests.e2e.conftest import WORKFLOWS
from tests.fixtures.processes import wait_until
from tests.fixtures.stack import Stack

FLOW = WORKFLOWS / "wrong.py"
HEAD = """
from celesta import task, unmapped, when, workflow


@task
def number() -> int:
    return 3


@task
def double(x: int, y: int = 1) -> int:
    return 2 * x * y


@workflow
def wrong() -> int:
    return """
WRONG = 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            "when(number(), then=lambda: double(x=1), otherwise=lambda: double(x=2))",
            ["compare it", "let a task return"],
        ),
        ("double(x=1) if number() else double(x=2)", ["write when(", "or decide inside a task"]),
        ("double.map(x=3)", ["map over a list, or write unmapped"]),
        ("double.map(x=number())", ["list[int] is wanted, int is given"]),
        ("double.map(x=[1, 2], y=[1, 2, 3])", ["lists of one length", "x has 2, y has 3"]),
    ],
    ids=["a branch on a number", "an if", "a map over a scalar", "a map over a scalar output", "lengths"],
)
def test_what_can_be_seen_before_a_run_is_an_error_at_its_line(
    stack: Stack, tmp_path: Path, body: str, words: list[str]
) -> None:
    (tmp_path / "flow.py").write_text(HEAD + body + "\n")
    said = stack.cli("run", tmp_path / "flow.py", "wrong", status=WRONG).stderr
    assert "flow.py:17" in said
    assert [word for word in words if word not in said] == [], said


@pytest.mark.parametrize(
    ("name", "path", "words"),
    [
        ("branch", "when", ["compare it, or let the task return a bool"]),
        ("scalar", "double", ["let the step that makes it return a list", "unmapped(...)"]),
        ("lengths", "add", ["x has 2, y has 3", "give lists of one length"]),
        ("without_end", None, ["come to an end without calling itself"]),
    ],
)
def test_what_only_a_run_can_see_fails_its_step_in_a_server_and_here(
    stack: Stack, project: str, name: str, path: str | None, words: list[str]
) -> None:
    for place in (("--project", project), ("--local",)):
        said = stack.cli("run", FLOW, name, *place, status=1).stderr
        assert [word for word in words if word not in " ".join(said.split())] == [], said
        assert f"step {path or 'endless/endless'}" in said


def _asking(stack: Stack, project: str) -> str:
    run = str(stack.json("run", FLOW, "asks", "--no-wait", "--project", project)["run_id"])
    with Client(stack.url, project=project) as client:
        wait_until(lambda: client.step(run, "sure")["state"] == "parked", what="the question")
    return run


def test_a_question_is_answered_once_and_by_who_may(stack: Stack, project: str) -> None:
    run = _asking(stack, project)
    stack.cli("projects", "members", "set", "eve", "editor", "--project", project)
    token = stack.json("projects", "tokens", "create", "t", "--user", "eve", "--role", "editor", "--project", project)
    eve = Stack(stack.home, {"CELESTA_URL": stack.url, "CELESTA_TOKEN": token["token"], "CELESTA_PROJECT": project})
    assert "owner" in eve.cli("runs", "approve", run, status=WRONG).stderr
    stack.cli("runs", "approve", run, "--no", "--project", project)
    again = stack.cli("runs", "approve", run, "--project", project, status=WRONG).stderr
    assert "answered" in again
    assert "false" in again, "it says what was answered, and by whom"


def test_a_run_that_goes_on_is_not_recovered(stack: Stack, project: str) -> None:
    run = _asking(stack, project)
    said = stack.cli("runs", "recover", run, "--project", project, status=WRONG).stderr
    assert f"celesta runs watch {run}" in said
    stack.cli("runs", "cancel", run, "--project", project)


def test_a_rerun_from_a_step_that_is_not_there_names_the_nearest(stack: Stack, project: str) -> None:
    run: Any = stack.json("run", FLOW, "fine", "--project", project)
    said = stack.cli("runs", "rerun", run["run_id"], "--from", "dubble", "--project", project, status=WRONG).stderr
    assert 'there is no step "dubble" to run from; did you mean "double"?' in said


def test_a_failed_run_shows_what_the_step_that_failed_first_was_given(stack: Stack, project: str) -> None:
    run = stack.json("run", FLOW, "lengths", "--project", project, status=1)["run_id"]
    shown = stack.cli("runs", "show", run, "--project", project).stdout
    assert "add: InputError: the lists that" in shown
    assert [line.split()[1:] for line in shown.splitlines() if line.strip().startswith("its ")]
    with Client(stack.url, project=project) as client:
        assert client.run(run)["error"]["inputs"].keys() == {"x", "y"}
