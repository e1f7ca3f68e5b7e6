"""Workers that die or sleep."""

import os
import signal
from threading import Event

import psutil

from tests.e2e.faults.conftest import MANY, NewTrial
from tests.e2e.faults.trial import LEASE_SECONDS, SHORT_SECONDS, Trial

HALF_A_SECOND = 0.5
GRACE_SECONDS = 30.0
"""Far above what a worker gives its steps, for a machine that is busy."""


def test_workers_killed_again_and_again_only_delay_a_run(new_trial: NewTrial) -> None:
    trial = new_trial(items=MANY).launch(SHORT_SECONDS)

    assert trial.disturbed(lambda: trial.kill_one("celesta-worker"), every=2.0) >= 1
    trial.check()


def test_a_worker_that_is_told_to_end_finishes_what_it_has_in_hand(new_trial: NewTrial) -> None:
    trial = new_trial().launch()
    children = set(_at_work(trial))
    (worker,) = set(trial.processes("celesta-worker")) - children
    worker.terminate()
    worker.wait(GRACE_SECONDS)
    attempts = trial.check()
    assert attempts["lost"] == 0, "items take a moment"


def test_the_late_result_of_a_worker_that_slept_is_fenced_off(new_trial: NewTrial) -> None:
    trial = new_trial(items=12).launch(seconds=HALF_A_SECOND)
    asleep = [process.pid for process in _at_work(trial)]
    for pid in asleep:
        os.kill(pid, signal.SIGSTOP)
    Event().wait(2.5 * LEASE_SECONDS)  # The fault itself: nothing tells that a lease has run out but time.
    for pid in asleep:
        os.kill(pid, signal.SIGCONT)
    attempts = trial.check()
    assert attempts["lost"] >= 1, "no lease ran out"


def _at_work(trial: Trial) -> list[psutil.Process]:
    """The Celery children that run steps: they have no children, and their parent is the worker."""
    workers = trial.processes("celesta-worker")
    parents = {process.ppid() for process in workers}
    return [process for process in workers if process.pid not in parents]
