"""Versions as a person meets them: older ones stay runnable, one command goes back, and a diff says what changed."""

import shutil
from pathlib import Path
from uuid import uuid4

import pytest

from tests.fixtures.stack import Stack

FLOW = """
from celesta import task, workflow
import {helper}


@task
def {name}_scale(x: int) -> int:
    return x * {helper}.FACTOR


@workflow
def {name}(x: int = 3) -> int:
    return {name}_scale(x=x)
"""


@pytest.fixture
def flow(stack: Stack, tmp_path: Path) -> tuple[str, list[str], Path]:
    """The name of a workflow, its two versions, and the folder that it lies in."""
    name = f"scaled_{uuid4().hex[:6]}"
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / f"{name}.py").write_text(FLOW.format(name=name, helper=f"{name}_factors"))
    versions = []
    for factor in (2, 5):
        (folder / f"{name}_factors.py").write_text(f"FACTOR = {factor}\n")
        run = stack.json("run", folder / f"{name}.py", name)
        assert run["outputs"] == {"result": 3 * factor}
        versions.append(stack.json("workflows", "show", name)["version"])
    return name, versions, folder


def test_an_older_version_runs_when_the_tree_that_it_came_from_is_gone(
    stack: Stack, flow: tuple[str, list[str], Path]
) -> None:
    name, (older, newer), folder = flow
    shutil.rmtree(folder)
    assert stack.json("launch", f"{name}@{older[:10]}")["outputs"] == {"result": 6}
    assert stack.json("launch", f"{name}@{newer[:10]}")["outputs"] == {"result": 15}


def test_one_command_goes_back_and_launches_use_it(stack: Stack, flow: tuple[str, list[str], Path]) -> None:
    name, (older, newer), folder = flow
    done = stack.json("workflows", "rollback", name)
    assert (done["left"], done["version"]) == (newer, older)
    assert stack.json("launch", name)["outputs"] == {"result": 6}
    told = stack.cli("run", folder / f"{name}.py", name)
    assert "go on with the version" in told.stderr
    assert stack.json("workflows", "show", name)["version"] == older
    assert [one["active"] for one in stack.json("workflows", "versions", name)] == [False, True]
    stack.json("workflows", "activate", f"{name}@{newer[:10]}")
    assert stack.json("launch", name)["outputs"] == {"result": 15}


def test_a_diff_of_versions_shows_the_line_of_the_helper_that_changed(
    stack: Stack, flow: tuple[str, list[str], Path]
) -> None:
    name, (older, _), _ = flow
    told = stack.cli("workflows", "diff", f"{name}@{older[:10]}")
    assert "-FACTOR = 2\n+FACTOR = 5" in told.stdout
    assert f"changed: {name}_scale" in told.stdout


def test_a_single_task_is_registered_listed_and_launched(stack: Stack, flow: tuple[str, list[str], Path]) -> None:
    name, _, folder = flow
    file = folder / f"{name}.py"
    stack.json("register", file, "--tasks")
    assert [one["name"] for one in stack.json("tasks", "list", "--search", name)] == [f"{name}_scale"]
    assert stack.json("launch", f"{name}_scale", "--x", 4)["outputs"] == {"result": 20}
    wrong = stack.cli("launch", f"{name}_scael", "--x", 4, status=2)
    assert f'did you mean "{name}_scale"?' in wrong.stderr
