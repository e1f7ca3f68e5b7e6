"""Metrics of a step that runs, read from outside of its process."""

import os

from celesta.runtime.context import StepContext
from celesta.runtime.live import Metrics, read


def test_what_was_measured_is_read_piece_by_piece() -> None:
    step = StepContext("r1", "train", 1, on_metric=Metrics())
    assert read(os.getpid(), 0) == ([], 0)
    step.log_metric("loss", 2, step=1)
    found, offset = read(os.getpid(), 0)
    assert found == step.metrics
    assert read(os.getpid(), offset) == ([], offset)
    step.log_metric("loss", 1, step=2)
    assert [metric["value"] for metric in read(os.getpid(), offset)[0]] == [1.0]


def test_a_process_that_the_step_forked_adds_nothing() -> None:
    step = StepContext("r1", "train", 1, on_metric=Metrics())
    step.log_metric("own", 1)
    before = read(os.getpid(), 0)[1]
    pid = os.fork()
    if pid == 0:
        step.log_metric("other", 2)
        os._exit(0)
    os.waitpid(pid, 0)
    assert read(os.getpid(), before) == ([], before)


def test_a_process_that_is_gone_has_nothing_to_say() -> None:
    assert read(2**22 + 1, 7) == ([], 7)
