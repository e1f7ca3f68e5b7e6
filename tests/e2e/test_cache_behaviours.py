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

    def explain(self, run: dict[str, Any], step: str) -> dict[str, Any]:
        found: dict[str, Any] = self.stack.json("cache", "explain", run["run_id"], step, "--project", self.project)
        return found

    def step(self, run: dict[str, Any], path: str) -> dict[str, Any]:
        with Client(self.stack.url, project=self.project) as client:
            return client.step(run["run_id"], path)

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


def test_one_step_is_computed_again_when_it_is_named(digits: Digits) -> None:
    first = digits.run()
    again = digits.run("--refresh", "pick")
    assert digits.computed(again) == {"pick": 1}
    assert digits.explain(again, "pick")["reason"] == "The run was told to compute it again (--refresh)."
    assert digits.explain(digits.run(), "pick")["source"]["run"] == again["run_id"]
    assert digits.run("--no-cache", "pick")["steps"]["cached"] == STEPS - 1
    wrong = digits.stack.cli("run", digits.file, "digits", "--project", digits.project, "--refresh", "pikc", status=2)
    assert 'did you mean "pick"?' in wrong.stderr
    assert first["outputs"] == again["outputs"]


def test_a_miss_is_explained_down_to_the_line_and_the_value(digits: Digits) -> None:
    first = digits.run()
    digits.edit('cmap="Blues"', 'cmap="Greens"')
    run = digits.run()
    code = digits.explain(run, "evaluate")
    assert code["nearest"]["run"] == first["run_id"]
    assert [change["component"] for change in code["nearest"]["differences"]] == ["code"]
    told = digits.stack.cli("cache", "explain", run["run_id"], "evaluate", "--project", digits.project).stdout
    assert 'cmap="Greens"' in told
    assert "differs in: code" in told

    run = digits.run("--seed", "8")
    change = digits.explain(run, "split")["nearest"]["differences"][0]
    assert (change["component"], change["name"], change["to"]["preview"]) == ("input", "seed", "8")


def test_a_model_that_was_lost_is_trained_again_and_no_other(digits: Digits) -> None:
    first = digits.run()
    model = digits.step(first, "train[5]")["outputs"]["model"]["digest"]
    (digits.stack.home / "store" / "blobs" / "sha256" / model[:2] / model).unlink()
    healed = digits.run()
    assert healed["status"] == "succeeded"
    assert digits.computed(healed) == {"train": 1}
    assert digits.run()["steps"]["cached"] == STEPS


def test_evicted_results_are_computed_again_and_pinned_ones_stay(digits: Digits) -> None:
    first = digits.run()
    options = ("--project", digits.project)
    digits.stack.cli("cache", "pin", first["run_id"], "train[5]", *options)
    told = digits.stack.json("cache", "evict", "--task", "train", "--dry-run", *options)
    assert (told["entries"], told["pinned"]) == (GRID - 1, 1)
    assert digits.run()["steps"]["cached"] == STEPS
    assert digits.stack.json("cache", "evict", "--task", "train", *options)["entries"] == GRID - 1
    assert digits.computed(digits.run()) == {"train": GRID - 1}
