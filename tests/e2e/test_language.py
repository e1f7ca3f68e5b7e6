"""The language on a real stack: branches, dynamic steps, maps in maps, workflows in workflows, references."""

from pathlib import Path

from celesta.client import Client
from tests.e2e.conftest import WORKFLOWS
from tests.fixtures.stack import Stack

FLOW = WORKFLOWS / "language.py"


def _steps(stack: Stack, project: str, run: str) -> dict[str, str]:
    with Client(stack.url, project=project) as client:
        return {step["path"]: step["state"] for step in client.steps(run)}


def test_the_side_of_a_branch_that_is_not_taken_is_skipped(stack: Stack, project: str) -> None:
    ran = stack.json("run", FLOW, "choose", "--project", project)
    assert ran["outputs"]["result"] == "deployed 7"
    assert (ran["steps"]["succeeded"], ran["steps"]["skipped"]) == (2, 1)
    assert _steps(stack, project, ran["run_id"]) == {
        "fit": "succeeded",
        "when": "succeeded",
        "deploy": "succeeded",
        "report": "skipped",
        "when.result": "succeeded",
    }
    assert stack.json("run", FLOW, "choose", "--depth", "2", "--project", project)["outputs"]["result"] == "reported 2"


def test_maps_lie_in_maps(stack: Stack, project: str) -> None:
    ran = stack.json("run", FLOW, "nested", "--project", project)
    assert ran["outputs"]["result"] == 30
    steps = _steps(stack, project, ran["run_id"])
    assert steps["sum_of[2]/double[1]"] == steps["sum_of[0]/total"] == "succeeded"
    assert ran["steps"]["total"] == 3 + (2 + 1) + (3 + 1) + 1


def test_all_of_it_runs_one_in_the_other(stack: Stack, project: str) -> None:
    stack.json("register", FLOW, "--project", project)
    ran = stack.json("run", FLOW, "language", "--project", project)
    assert ran["outputs"]["result"] == "reported 3, deployed 9"
    steps = _steps(stack, project, ran["run_id"])
    assert steps["refine/refine/refine"] == "succeeded"
    assert (steps["choose/report"], steps["choose/deploy"]) == ("succeeded", "skipped")
    assert (steps["registered/report"], steps["registered/deploy"]) == ("skipped", "succeeded")


def test_a_local_run_comes_to_the_same(stack: Stack, project: str) -> None:
    for name in ("choose", "nested"):
        there = stack.json("run", FLOW, name, "--project", project)
        here = stack.json("run", FLOW, name, "--local")
        assert (here["outputs"], here["steps"]) == (there["outputs"], there["steps"])


def test_a_dynamic_step_that_calls_itself_without_end_says_so(stack: Stack, project: str) -> None:
    ran = stack.json("run", FLOW, "without_end", "--project", project, status=1)
    with Client(stack.url, project=project) as client:
        assert "32 deep" in client.run(ran["run_id"])["error"]["message"]


def test_real_workers_never_have_more_at_work_than_limits_allow_inside_dynamic_steps_too(
    stack: Stack, project: str, tmp_path: Path
) -> None:
    stack.cli("projects", "limits", "set", "press", "1", "--project", project)
    ran = stack.json("run", FLOW, "crowded", "--place", tmp_path, "--project", project)
    assert ran["outputs"]["result"] == 6 + 3 * (4 + 3), "each fails while another of its kind is at work"
    assert ran["steps"]["failed"] == 0
