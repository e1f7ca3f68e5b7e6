"""What a step may ask about itself."""

import threading
from pathlib import Path
from typing import Any

import pytest

from celesta.errors import ContextError
from celesta.runtime import context as contexts
from celesta.runtime.context import MAX_METRICS, StepContext, active, current, last_user, own_process, plain_call


@pytest.fixture
def step(tmp_path: Path) -> StepContext:
    return StepContext("r1", "train[2]", 1, secrets={"key": "value"}, checkpoints=tmp_path)


def test_outside_a_step_there_is_no_context() -> None:
    with pytest.raises(ContextError, match="inside a step only"):
        current()


def test_within_the_block_it_is_the_step_and_after_it_none(step: StepContext) -> None:
    with active(step):
        assert current() is step
    with pytest.raises(ContextError):
        current()


def test_a_process_that_runs_one_step_has_it_in_its_threads(step: StepContext) -> None:
    own_process(step)
    try:
        found: list[StepContext] = []
        thread = threading.Thread(target=lambda: found.append(current()))
        thread.start()
        thread.join()
        assert found == [step]
    finally:
        own_process(None)


def test_a_plain_call_has_a_context_that_takes_everything_and_prints_nothing(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "t")
    with plain_call("train") as context:
        assert current() is context
        current().log_metric("loss", 1)
        current().log_metric("loss", float("nan"))
        current().log_text("hello")
        current().report("<p>")
        assert current().secret("TOKEN") == "t"
        place = current().checkpoint
        assert place.is_dir()
    assert not place.exists()
    assert capfd.readouterr() == ("", "")


def test_a_plain_call_inside_a_step_belongs_to_the_step(step: StepContext) -> None:
    with active(step), plain_call("helper"):
        assert current() is step


def test_a_metric_has_name_value_and_moment(step: StepContext) -> None:
    step.log_metric("loss", True, step=3)
    (metric,) = step.metrics
    assert (metric["name"], metric["value"], metric["step"]) == ("loss", 1.0, 3)
    assert isinstance(metric["at_ms"], int)


class Counted:
    """An integer of another library, as numpy's are."""

    def __index__(self) -> int:
        return 4


def test_a_metrics_step_is_a_plain_integer_whoever_counted_it(step: StepContext) -> None:
    step.log_metric("loss", 1, step=Counted())
    assert type(step.metrics[0]["step"]) is int
    assert step.metrics[0]["step"] == 4


@pytest.mark.parametrize("place", ["a", 1.5, 2**63])
def test_a_metrics_step_that_is_no_whole_number_of_64_bits_is_refused(step: StepContext, place: Any) -> None:
    with pytest.raises(ContextError, match="whole number"):
        step.log_metric("loss", 1, step=place)
    assert step.metrics == []


def test_what_is_not_finite_or_too_much_goes_to_the_log(step: StepContext, capfd: pytest.CaptureFixture[str]) -> None:
    step.log_metric("loss", float("inf"))
    assert step.metrics == []
    for number in range(MAX_METRICS + 1):
        step.log_metric("n", number)
    assert len(step.metrics) == MAX_METRICS
    assert "loss = inf" in (logged := capfd.readouterr().err)
    assert "keeps 10,000 metrics" in logged


def test_an_undeclared_secret_is_refused_with_what_to_write(step: StepContext) -> None:
    assert step.secret("key") == "value"
    with pytest.raises(ContextError, match=r"it has: key.*secrets=\['other'\]"):
        step.secret("other")


def test_a_report_is_text(step: StepContext) -> None:
    with pytest.raises(ContextError, match="not bytes"):
        step.report(b"<p>")  # type: ignore[arg-type]


def test_attempts_share_a_checkpoint_until_one_succeeds(tmp_path: Path) -> None:
    first = StepContext("r1", "a/b[1]", 1, checkpoints=tmp_path)
    (first.checkpoint / "state").write_text("x")
    second = StepContext("r1", "a/b[1]", 2, checkpoints=tmp_path)
    assert (second.checkpoint / "state").read_text() == "x"
    assert StepContext("r1", "a/b[2]", 1, checkpoints=tmp_path).checkpoint != second.checkpoint
    second.discard_checkpoint()
    assert not second.checkpoint.exists()


@pytest.mark.parametrize("paths", [("each[0]/" + "deep/" * 60, "each[1]/" + "deep/" * 60), ("é/" * 80, "é/" * 81)])
def test_two_steps_have_two_checkpoints_however_long_their_paths_are(paths: tuple[str, str], tmp_path: Path) -> None:
    one, other = (StepContext("r1", path, 1, checkpoints=tmp_path, token="1.1") for path in paths)
    (one.checkpoint / "state").write_text("x")
    assert not list(other.checkpoint.iterdir())
    assert last_user(one.checkpoint) != last_user(other.checkpoint)


def test_a_checkpoint_that_nobody_asked_for_is_never_made(tmp_path: Path) -> None:
    context = StepContext("r1", "a", 1, checkpoints=tmp_path)
    context.discard_checkpoint()
    assert list(tmp_path.iterdir()) == []


def test_the_idempotency_key_is_that_of_the_step_not_of_the_attempt() -> None:
    assert {StepContext("r1", "a", attempt).idempotency_key for attempt in (1, 2)} == {"r1/a"}
    assert contexts.PlainContext("a").run_id == ""
