from datetime import UTC, datetime

import pytest

from celesta.cli.exits import exit_status
from celesta.cli.output import ago, fields, seconds, short, size, table
from celesta.cli.progress import State
from celesta.cli.result import failure, summary, tell_traceback
from celesta.errors import CelestaError, InputError, NotFoundError, RunFailed, ServerUnreachable, StackError, StoreError


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RunFailed("x"), 1),
        (StoreError("x"), 1),
        (InputError("x"), 2),
        (NotFoundError("x"), 2),
        (StackError("x"), 2),
        (ServerUnreachable("x"), 3),
    ],
)
def test_every_error_has_its_exit_status(error: CelestaError, status: int) -> None:
    assert exit_status(error) == status


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (15_000_000, "15 MB"), (2e12, "2.0 TB")]
)
def test_sizes_are_short(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (0.123, "0.12 s"), (42, "42 s"), (125, "2 min 05 s"), (7200, "2 h 00 min")]
)
def test_durations_are_short(value: float | None, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        ("2026-01-01T11:59:58Z", "just now"),
        ("2026-01-01T11:59:00Z", "1 min ago"),
        ("2026-01-01T02:00:00Z", "10 h ago"),
        ("2025-12-25T12:00:00Z", "7 d ago"),
        (None, ""),
    ],
)
def test_moments_are_told_from_now(moment: str | None, text: str) -> None:
    assert ago(moment, datetime(2026, 1, 1, 12, tzinfo=UTC)) == text


def test_a_value_is_cut_to_one_line() -> None:
    assert short({"type": "file", "digest": "d", "size": 1500, "name": "model.pkl"}) == "model.pkl (1.5 kB)"
    assert short("a\nb" * 50, 10) == "a ba ba b…"


def test_columns_are_aligned_and_numbers_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    table(["run", "steps"], [("abc", 7), ("d", 1000)], empty="none")
    assert capsys.readouterr().out.splitlines() == ["RUN  STEPS", "abc      7", "d     1000"]


def test_an_empty_listing_says_what_to_do_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    table(["run"], [], empty="No runs.")
    assert capsys.readouterr() == ("", "No runs.\n")


def test_fields_without_a_value_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    fields([("a", "x"), ("long", None), ("bc", [1])])
    assert capsys.readouterr().out == "a   x\nbc  [1]\n"


def test_the_summary_has_exactly_the_promised_keys() -> None:
    run = dict.fromkeys(("run_id", "status", "outputs", "steps", "duration_seconds", "url", "workflow", "error"))
    assert list(summary(run)) == ["run_id", "status", "outputs", "steps", "duration_seconds", "url"]


def test_a_failure_names_step_error_and_log() -> None:
    run = {"run_id": "r", "status": "failed", "error": {"path": "train[3]", "type": "ValueError", "message": "no"}}
    assert failure(run) == "step train[3] failed: ValueError: no\nIts log: `celesta runs logs r --step 'train[3]'`"
    silent = run | {"error": {**run["error"], "log_bytes": 0}}
    assert failure(silent) == "step train[3] failed: ValueError: no"


def test_progress_counts_settled_steps_and_names_running_ones() -> None:
    state = State()
    state.take({"kind": "run.started", "known": 3})
    for node in range(6):
        state.take({"kind": "step.running", "node": str(node), "path": f"s{node}"})
    assert state.description == "s0, s1, s2, s3 +2"
    assert state.take({"kind": "step.settled", "node": "0", "path": "s0", "state": "failed"}) == "s0 failed"
    state.take({"kind": "map.opened", "known": 9})
    assert (state.settled, state.known) == (1, 9)


def test_a_failure_without_a_log_points_to_none() -> None:
    run = {"run_id": "r", "log": "", "error": {"path": "train", "type": "ValueError", "message": "no"}}
    assert failure(run) == "step train failed: ValueError: no"


def test_a_traceback_is_told_when_it_leads_to_the_users_code(capsys: pytest.CaptureFixture[str]) -> None:
    trace = 'Traceback (most recent call last):\n  File "flow.py", line 3, in f\nValueError: no\n'
    tell_traceback({"traceback": trace})
    tell_traceback({"traceback": "celesta.errors.CodecError: no\n"})
    tell_traceback(None)
    assert capsys.readouterr().err == trace
