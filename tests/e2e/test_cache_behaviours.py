"""The digits example on the real stack: what is computed, and what is not computed twice."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from celesta.client import Client
from tests.fixtures.stack import Stack

GRID = 12
STEPS = GRID + 5  # and load, split, grid, pick, evaluate


@pytest.fixture
def digits(stack: Stack, project: str, copy_of: Callable[[str], Path]) -> "Digits":
    return Digits(stack, project, copy_of("examples/digits.py"))


class Digits:
    """The example in a file of its own, run in a project of its own."""

    def __init__(self, stack: Stack, project: str, file: Path) -> None:
        self.stack, self.project, self.file = stack, project, file

    def run(self, *inputs: str) -> dict[str, Any]:
        return self.stack.json("run", self.file, "digits", "--project", self.project, *inputs)

    def edit(self, old: str, new: str) -> None:
        text = self.file.read_text()
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in the example"
        self.file.write_text(text.replace(old, new))

    def computed(self, run: dict[str, Any]) -> Counter[str]:
        """How many steps of each task ran, map items counted singly."""
        with Client(self.stack.url, project=self.project) as client:
            steps = list(client.steps(run["run_id"], state="succeeded"))
        return Counter(step["task"] for step in steps if step["width"] is None)


def test_the_second_run_is_answered_wholly_from_the_cache(digits: Digits) -> None:
    first, second = digits.run(), digits.run()
    assert (first["status"], second["status"]) == ("succeeded", "succeeded")
    assert first["steps"]["total"] == second["steps"]["total"] == STEPS
    assert first["steps"]["succeeded"] == STEPS
    assert second["steps"]["cached"] == STEPS
    assert first["outputs"] == second["outputs"]
    assert first["outputs"]["accuracy"] > 0.95


def test_a_longer_list_of_one_hyper_parameter_trains_the_new_points_only(digits: Digits) -> None:
    digits.run()
    run = digits.run("--c", "[1.0, 3.0, 10.0, 30.0, 100.0]")
    computed = digits.computed(run)
    assert computed["train"] == 3
    assert set(computed) <= {"grid", "train", "pick", "evaluate"}
    assert run["steps"]["cached"] >= GRID + 2


def test_a_comment_or_a_new_layout_of_the_code_costs_nothing(digits: Digits) -> None:
    digits.run()
    digits.edit(
        "    best = int(np.argmax(accuracies))", "    # the first of equals\n    best = int( np.argmax(accuracies) )"
    )
    assert digits.run()["steps"]["cached"] == STEPS


def test_an_edited_task_runs_again_and_its_dependents_only_when_their_inputs_changed(digits: Digits) -> None:
    digits.run()
    digits.edit("    best = int(np.argmax(accuracies))", "    best = int(np.argmax(np.asarray(accuracies)))")
    assert digits.computed(digits.run()) == {"pick": 1}, "pick gives the same outputs: evaluate has nothing to do"

    digits.edit("    best = int(np.argmax(np.asarray(accuracies)))", "    best = int(np.argmin(accuracies))")
    assert digits.computed(digits.run()) == {"pick": 1, "evaluate": 1}, "another model was picked"


def test_an_edited_helper_runs_those_tasks_again_that_reach_it(digits: Digits) -> None:
    digits.run()
    digits.edit('cmap="Blues"', 'cmap="Greens"')
    assert digits.computed(digits.run()) == {"evaluate": 1}
