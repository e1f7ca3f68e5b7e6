"""Runs held against each other at the command line: where two part, a table of many, and a run repeated."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.stack import Stack

FILE = Path(__file__).with_name("workflows") / "results.py"


@pytest.fixture
def run(stack: Stack) -> Any:
    def run(workflow: str, n: int) -> str:
        return str(stack.json("run", FILE, workflow, "--n", n)["run_id"])

    return run


def test_a_run_is_reproduced_without_the_cache_and_comes_out_identical(stack: Stack, run: Any) -> None:
    first = run("steady", 5)
    run("steady", 5)
    made = stack.json("runs", "reproduce", first)
    assert made["verdict"] == "identical"
    assert [(step["path"], step["verdict"]) for step in made["steps"]] == [
        ("measure", "identical"),
        ("total", "identical"),
    ]
    shown = stack.json("runs", "show", made["run_id"])
    assert shown["origin"] == {"run_id": first, "kind": "reproduction"}
    assert (shown["steps"]["cached"], shown["steps"]["succeeded"]) == (0, 2)


def test_a_run_that_comes_out_different_says_where_and_exits_1(stack: Stack, run: Any) -> None:
    first = run("ticking", 3)
    made = stack.json("runs", "reproduce", first, status=1)
    assert made["verdict"] == "different"
    assert {step["path"]: step["verdict"] for step in made["steps"]} == {"measure": "identical", "clock": "different"}
    assert " became " in made["steps"][1]["how"]
    told = stack.cli("runs", "reproduce", first, status=1)
    assert "1 different" in told.stderr
    assert "no run" in stack.cli("runs", "reproduce", "nothing", status=2).stderr


def test_a_diff_names_the_first_step_at_which_two_runs_part(stack: Stack, run: Any) -> None:
    one, other = run("steady", 6), run("steady", 7)
    document = stack.json("runs", "diff", one, other)
    assert document["first_divergence"] == {"path": "measure", "why": "it was given another n"}
    told = stack.cli("runs", "diff", one, other).stdout
    assert "They part at measure: it was given another n." in told
    assert "6 items became 7" in told
    other_workflow = run("ticking", 6)
    assert "different workflows" in stack.json("runs", "diff", one, other_workflow)["note"]


def test_runs_are_compared_as_a_table_as_csv_and_as_series(stack: Stack, run: Any) -> None:
    runs = [run("steady", n) for n in (8, 2)]
    table = stack.json("runs", "compare", *runs, "--sort", "total")
    assert [row["inputs"]["n"] for row in table["runs"]] == [2, 8]
    rows = list(csv.DictReader(io.StringIO(stack.cli("runs", "compare", *runs, "--csv").stdout)))
    assert [(row["run"], row["metric.total.total"], row["output.result"]) for row in rows] == [
        (runs[0], "28.0", "28"),
        (runs[1], "1.0", "1"),
    ]
    assert "TOTAL.TOTAL" in stack.cli("runs", "compare", *runs).stdout
    series = stack.json("runs", "compare", *runs, "--series", "loss")["series"]
    assert [len(one["points"]) for one in series] == [8, 2]
    assert "there is no column" in stack.cli("runs", "compare", *runs, "--sort", "nope", status=2).stderr
