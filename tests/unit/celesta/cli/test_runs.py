"""What `celesta runs` asks for and shows, without a server."""

import json
from collections.abc import Iterator
from typing import Any, Self

import pytest

from celesta.cli.main import run_command
from celesta.cli.runs import SHOWN_STEPS
from celesta.errors import ConflictError


class Huge:
    """A client of a server whose only run has very many steps."""

    total = 5_000
    asked = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, run_id: str) -> dict[str, Any]:
        return {
            "run_id": run_id, "workflow": "wide", "version": "0" * 64, "status": "running", "duration_seconds": None,
            "steps": {"total": self.total, "succeeded": 0}, "created_at": None, "created_by": "me", "inputs": {},
            "outputs": None, "error": None, "paused_at": None, "url": "http://here",
        }  # fmt: skip

    def steps(self, run_id: str, limit: int | None = None) -> Iterator[dict[str, Any]]:
        for number in range(self.total if limit is None else min(limit, self.total)):
            self.asked += 1
            yield {"path": f"one[{number}]", "state": "waiting", "attempt": 0, "duration_seconds": None}


class Asked(Huge):
    """A run that is paused, in which `name` asks for a text and `deploy` was answered."""

    refusal = 'the step "deploy" was answered already, by ann'

    def run(self, run_id: str) -> dict[str, Any]:
        return super().run(run_id) | {"paused_at": "2026-01-01T00:00:00Z"}

    def step(self, run_id: str, path: str) -> dict[str, Any]:
        return {"path": path, "parked": {"waits_for": "wait_for", "type": {"kind": "str"}}, "answer": None}

    def steps(self, run_id: str, limit: int | None = None, state: str = "") -> Iterator[dict[str, Any]]:
        yield self.step(run_id, "name")
        if not state:
            yield {"path": "deploy", "parked": None, "answer": {"value": True}}

    def answer(self, run_id: str, step: str, value: Any, note: str = "") -> dict[str, Any]:
        if step == "deploy":
            raise ConflictError(self.refusal)
        return {"step": step, "value": value}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    made = Asked()
    monkeypatch.setattr("celesta.client.Client.from_env", lambda _project: made)
    return made


def test_a_text_is_given_without_quotes_and_a_paused_run_is_not_said_to_go_on(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["runs", "answer", "r", "name", "--value", "3"]) == 0
    told = capsys.readouterr().out.replace("\n", " ")
    assert "name of run r has 3; the run is paused: let it go on with `celesta runs resume r`." in told


def test_an_approval_that_was_given_is_said_to_be_by_whom(asked: Asked, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["runs", "approve", "r"]) == 2
    assert asked.refusal in capsys.readouterr().err


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Huge:
    made = Huge()
    monkeypatch.setattr("celesta.client.Client.from_env", lambda _project: made)
    return made


def test_a_huge_run_is_shown_in_part_with_how_many_there_are_more(
    client: Huge, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["runs", "show", "r"]) == 0
    told = capsys.readouterr()
    assert told.out.count("one[") == client.asked == SHOWN_STEPS
    assert told.err == "… and 4,800 more; --all shows them.\n"


@pytest.mark.parametrize("option", ["--all", "--json"])
def test_all_of_a_huge_run_is_there_for_who_asks(client: Huge, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["runs", "show", "r", option]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    shown = json.loads(told.out)["step_list"] if option == "--json" else told.out.splitlines()
    assert sum("one[" in str(line) for line in shown) == client.total
