"""What people decide about runs, and what ends a run that takes too long: on a real stack, to the last process."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.e2e.conftest import WORKFLOWS
from tests.fixtures.processes import SOON_SECONDS, wait_until
from tests.fixtures.stack import Stack

STUBBORN = WORKFLOWS / "stubborn.py"
CLINGING = 3


@pytest.fixture
def launch(stack: Stack, tmp_path: Path) -> Callable[..., str]:
    """Starts a workflow of this file and returns the run's id."""

    def start(workflow: str, *arguments: object) -> str:
        told = stack.json("run", STUBBORN, workflow, "--folder", tmp_path, "--no-wait", *arguments)
        return str(told["run_id"])

    return start


def notes(folder: Path, name: str) -> list[str]:
    file = folder / name
    return file.read_text().split() if file.exists() else []


def clinging(folder: Path) -> list[int]:
    """The processes of the step that clings, once all of them are there."""
    wait_until(lambda: len(notes(folder, "pids")) == CLINGING, 30, "the step's processes")
    return [int(pid) for pid in notes(folder, "pids")]


def alive(pids: list[int]) -> list[int]:
    def runs(pid: int) -> bool:
        try:
            return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return False

    return [pid for pid in pids if runs(pid)]


def ended(stack: Stack, run: str) -> Any:
    stack.cli("runs", "watch", run, status=None)
    return stack.json("runs", "show", run)


def seconds(run: Any) -> float:
    began, end = (datetime.fromisoformat(run[name]) for name in ("started_at", "finished_at"))
    return (end - began).total_seconds()


def test_a_cancelled_run_soon_has_no_process_left(stack: Stack, launch: Callable[..., str], tmp_path: Path) -> None:
    run = launch("clinging")
    pids = clinging(tmp_path)
    from celesta.client import Client

    with Client(stack.url) as client:
        client.cancel(run)
    wait_until(lambda: not alive(pids), SOON_SECONDS, "the end of the step's processes")
    shown = ended(stack, run)
    assert (shown["status"], shown["steps"]["cancelled"]) == ("cancelled", 1)


def test_a_run_ends_when_its_time_is_up(stack: Stack, launch: Callable[..., str], tmp_path: Path) -> None:
    run = launch("hurried")
    pids = clinging(tmp_path)
    shown = ended(stack, run)
    assert shown["status"] == "failed"
    assert shown["error"]["type"] == "Timeout"
    assert 4.0 <= seconds(shown) < SOON_SECONDS
    assert not alive(pids)


def test_a_step_ends_when_its_time_is_up(stack: Stack, launch: Callable[..., str], tmp_path: Path) -> None:
    run = launch("impatient")
    pids = clinging(tmp_path)
    shown = ended(stack, run)
    assert (shown["status"], shown["error"]["kind"]) == ("failed", "timeout")
    assert 2.0 <= shown["step_list"][0]["duration_seconds"] < SOON_SECONDS
    assert not alive(pids)


def test_a_failure_ends_the_rest_of_a_run_that_fails_fast(
    stack: Stack, launch: Callable[..., str], tmp_path: Path
) -> None:
    run = launch("strict")
    pids = clinging(tmp_path)
    shown = ended(stack, run)
    states = {step["path"]: step["state"] for step in shown["step_list"]}
    assert shown["status"] == "failed"
    assert shown["error"]["path"] == "count"
    assert states == {"cling": "cancelled", "slowly": "succeeded", "count": "failed"}
    assert not alive(pids)


def test_while_a_run_is_paused_nothing_starts_and_what_runs_ends(
    stack: Stack, launch: Callable[..., str], tmp_path: Path
) -> None:
    run = launch("stages", "--seconds", 2)
    wait_until(lambda: notes(tmp_path, "slowly"), 30, "the slow step")
    assert stack.json("runs", "pause", run)["paused_at"]

    def slow_has_ended() -> bool:
        steps = {step["path"]: step["state"] for step in stack.json("runs", "show", run)["step_list"]}
        return steps["slowly"] == "succeeded"

    wait_until(slow_has_ended, 30, "the end of the step that ran")
    shown = stack.json("runs", "show", run)
    assert (shown["status"], notes(tmp_path, "add")) == ("running", [])
    assert stack.json("runs", "resume", run)["paused_at"] is None
    assert ended(stack, run)["status"] == "succeeded"
    assert len(notes(tmp_path, "add")) == 1


def test_recovering_a_map_runs_the_failed_item_alone(stack: Stack, launch: Callable[..., str], tmp_path: Path) -> None:
    run = launch("counting")
    assert ended(stack, run)["error"]["path"] == "count[2]"
    (tmp_path / "helped").touch()
    preview = stack.json("runs", "recover", run, "--dry-run")
    assert {step["path"]: (step["run"], step["reuse"]) for step in preview["steps"]} == {"count": (1, 4), "add": (1, 0)}
    recovered = stack.json("runs", "recover", run)
    assert (recovered["status"], recovered["outputs"]) == ("succeeded", {"result": 15})
    assert (recovered["steps"]["succeeded"], recovered["steps"]["cached"]) == (2, 4)
    assert [len(notes(tmp_path, f"count-{number}")) for number in range(1, 6)] == [1, 1, 2, 1, 1]
    shown = stack.json("runs", "show", recovered["run_id"])
    assert shown["origin"] == {"run_id": run, "kind": "recover"}
    sources = {step["path"]: step["cache"]["source"] for step in shown["step_list"]}
    assert sources["count[0]"]["run"] == run
    told = stack.cli("runs", "recover", recovered["run_id"], status=2)
    assert "nothing to recover" in told.stderr


def test_a_rerun_runs_what_is_asked_and_takes_over_the_rest(
    stack: Stack, launch: Callable[..., str], tmp_path: Path
) -> None:
    run = launch("stages")
    assert ended(stack, run)["outputs"] == {"result": 13}
    again = stack.json("runs", "rerun", run, "--from", "slowly")
    assert (again["steps"]["succeeded"], again["steps"]["cached"]) == (2, 2)
    other = stack.json("runs", "rerun", run, "--input", "m=20")
    assert (other["outputs"], other["steps"]["cached"]) == ({"result": 23}, 2)
    assert [len(notes(tmp_path, name)) for name in ("first", "slowly", "add")] == [1, 4, 3]
    told = stack.cli("runs", "rerun", run, "--from", "slow", status=2)
    assert 'did you mean "slowly"?' in told.stderr
    table = stack.cli("runs", "rerun", run, "--from", "beside", "--dry-run").stdout
    assert '"beside" runs again' in table
    assert f"2 would run, 2 would be taken over from {run}." in table


def test_a_run_that_goes_on_is_not_recovered(stack: Stack, launch: Callable[..., str], tmp_path: Path) -> None:
    run = launch("clinging")
    pids = clinging(tmp_path)
    assert "wait for its end" in stack.cli("runs", "recover", run, status=2).stderr
    stack.cli("runs", "cancel", run)
    assert ended(stack, run)["status"] == "cancelled"
    assert not alive(pids)


class Listener(BaseHTTPRequestHandler):
    heard: ClassVar[list[Any]] = []

    def do_POST(self) -> None:
        self.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def address() -> Iterator[str]:
    Listener.heard.clear()
    made = HTTPServer(("127.0.0.1", 0), Listener)
    thread = threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}/hook"
    made.shutdown()
    thread.join()
    made.server_close()


def test_a_failed_run_tells_a_webhook_which_is_not_called_inside_unless_it_may_be(
    stack: Stack, new_stack: Callable[..., Stack], tmp_path: Path, address: str
) -> None:
    arguments = ("run", STUBBORN, "watched", "--folder", tmp_path, "--address", address)
    allowed = new_stack("--workers", 1, CELESTA_WEBHOOK_ALLOW="127.0.0.1")
    told = allowed.json(*arguments, status=1)
    assert told["steps"]["succeeded"] == 2
    (heard,) = Listener.heard
    assert {name: heard[name] for name in ("run", "path", "type", "message")} == {
        "run": told["run_id"], "path": "count", "type": "ValueError", "message": "number 3 needs help",
    }  # fmt: skip
    assert notes(tmp_path, "failure") == ["count"]
    refused = stack.json(*arguments, status=1)
    assert len(Listener.heard) == 1
    steps = {step["path"]: step for step in stack.json("runs", "show", refused["run_id"])["step_list"]}
    assert "CELESTA_WEBHOOK_ALLOW" in steps["on_failure/webhook"]["error"]["message"]
    assert stack.json("runs", "show", refused["run_id"])["error"]["path"] == "count"
    assert stack.json(*arguments, "--number", 4)["steps"]["total"] == 1, "no failure, nothing to tell"


def test_metrics_are_seen_while_the_step_runs(stack: Stack, launch: Callable[..., str], tmp_path: Path) -> None:
    from celesta.client import Client

    run = launch("measuring")
    with Client(stack.url) as client:

        def losses() -> list[float]:
            step = client.step(run, "measure")
            return [metric["value"] for metric in step["metrics"] if step["state"] == "running"]

        wait_until(lambda: len(losses()) == 3, 30, "the metrics of a step that runs")
        assert losses() == [1.0, 0.5, 1 / 3]
        (tmp_path / "go").touch()
        assert ended(stack, run)["status"] == "succeeded"
        assert len(client.step(run, "measure")["metrics"]) == 3
