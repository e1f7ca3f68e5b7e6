"""The commands of a person's day against the real stack: run, launch, look, fetch."""

import json
import uuid
from pathlib import Path
from textwrap import dedent

import pytest

from tests.fixtures.stack import Stack

KEYS = ["run_id", "status", "outputs", "steps", "duration_seconds", "url"]

FLOW = """
from typing import NamedTuple

from celesta import File, task, workflow

print("imported")


@task(cache=True)
def double(n: int) -> int:
    print(f"doubling {n}\\x1b[2J")
    return 2 * n


@task
def add(numbers: list[int]) -> int:
    return sum(numbers)


@task
def broken(n: int) -> int:
    print("before the end")
    raise ValueError(f"cannot take {n}")


@task
def read(data: File) -> str:
    return data.read_text()


@task
def write(text: str) -> File:
    with open("out.txt", "w") as file:
        file.write(text)
    return File("out.txt")


@workflow
def flow(n_items: int = 3, wait: int = 0) -> int:
    \"\"\"Doubles and adds.\"\"\"
    return add(numbers=[double(n=n_items), double(n=wait)])


@workflow
def failing(n: int) -> int:
    return broken(n=double(n=n))


@workflow
def files(data: File) -> File:
    return write(text=read(data=data))
"""


@pytest.fixture
def project(stack: Stack) -> str:
    """A project of this test's own, so that its cache is empty."""
    name = f"t{uuid.uuid4().hex[:10]}"
    stack.cli("projects", "create", name)
    return name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's project, which has packages named as ours."""
    for name in ("app", "workers"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "flow.py").write_text("import app, workers\n" + dedent(FLOW))
    return tmp_path


def test_a_run_prints_one_document_with_exactly_the_promised_keys(stack: Stack, project: str, folder: Path) -> None:
    run = stack.json("run", "flow.py", "flow", "--n-items", 4, "--project", project, cwd=folder)
    assert list(run) == KEYS
    assert run["outputs"] == {"result": 8}
    assert run["steps"] == {"total": 3, "succeeded": 3, "cached": 0, "failed": 0, "skipped": 0, "cancelled": 0}
    assert run["duration_seconds"] > 0
    assert run["url"].startswith(stack.url)

    again = stack.json("run", "flow.py", "flow", "--n-items", 4, "--project", project, cwd=folder)
    assert (again["steps"]["cached"], again["steps"]["succeeded"]) == (2, 1)
    fresh = stack.json("run", "flow.py", "flow", "--n-items", 4, "--refresh", "--project", project, cwd=folder)
    assert fresh["steps"]["cached"] == 0


def test_a_clashing_input_is_given_by_name(stack: Stack, project: str, folder: Path) -> None:
    run = stack.json("run", "flow.py", "flow", "--input", "wait=5", "--project", project, cwd=folder)
    assert run["outputs"] == {"result": 16}


def test_a_folder_on_the_python_path_does_not_disturb(stack: Stack, project: str, folder: Path) -> None:
    from_inside = Stack(stack.home, stack.environ | {"PYTHONPATH": "."})
    assert from_inside.json("run", "flow.py", "flow", "--project", project, cwd=folder)["outputs"] == {"result": 6}


def test_a_failed_run_names_step_error_and_log(stack: Stack, project: str, folder: Path) -> None:
    done = stack.cli("run", "flow.py", "failing", "--n", 1, "--project", project, "--json", status=1, cwd=folder)
    run = json.loads(done.stdout)
    assert run["status"] == "failed"
    assert "broken" in done.stderr
    assert "ValueError: cannot take 2" in done.stderr
    assert f"celesta runs logs {run['run_id']}" in done.stderr
    log = stack.cli("runs", "logs", run["run_id"], "--step", "broken", "--project", project)
    assert "before the end" in log.stdout
    late = stack.cli("runs", "cancel", run["run_id"], "--project", project, status=1)
    assert f"run {run['run_id']} has ended already (failed)" in late.stderr
    assert late.stdout == ""


def test_logs_are_one_document_or_harmless_text_or_the_bytes_themselves(
    stack: Stack, project: str, folder: Path
) -> None:
    run = stack.json("run", "flow.py", "double", "--n", 4, "--project", project, cwd=folder)["run_id"]
    where = ("runs", "logs", run, "--project", project)
    assert stack.json(*where) == {"run_id": run, "logs": [{"path": "double", "text": "doubling 4\x1b[2J\n"}]}
    assert stack.cli(*where).stdout == "doubling 4\n"
    assert stack.cli(*where, "--step", "double", "--raw").stdout == "doubling 4\x1b[2J\n"
    assert stack.cli(*where, "--step", "double", "--follow").stdout == "doubling 4\n"
    assert "--follow" in stack.cli(*where, "--follow", "--json", status=2).stderr


def test_a_file_goes_in_and_comes_out(stack: Stack, project: str, folder: Path) -> None:
    (folder / "data.txt").write_text("content")
    run = stack.json("run", "flow.py", "files", "--data", "data.txt", "--project", project, cwd=folder)
    made = stack.json("artifacts", "list", "--run", run["run_id"], "--project", project)
    (wanted,) = [artifact for artifact in made if artifact["type"] == "file"]
    stack.cli("artifacts", "get", wanted["id"], "--project", project, cwd=folder)
    assert (folder / "out.txt").read_text() == "content"
    assert stack.json("artifacts", "show", wanted["id"], "--project", project)["digest"] == wanted["digest"]


def test_what_was_registered_is_launched_by_name(stack: Stack, project: str, folder: Path) -> None:
    done = stack.json("register", "flow.py", "--project", project, cwd=folder)
    assert [one["workflow"] for one in done] == ["flow", "failing", "files"]
    version = done[0]["version"]
    assert stack.json("register", "flow.py", "--project", project, cwd=folder)[0]["created"] is False
    assert "--n-items" in stack.cli("launch", "flow", "--help", "--project", project).stdout
    run = stack.json("launch", f"flow@{version[:12]}", "--n-items", 1, "--project", project)
    assert run["outputs"] == {"result": 2}
    assert stack.json("workflows", "show", "flow", "--project", project)["version"] == version
    assert {w["name"] for w in stack.json("workflows", "list", "--project", project)} == {"flow", "failing", "files"}


def test_a_run_that_is_not_waited_for_can_be_watched(stack: Stack, project: str, folder: Path) -> None:
    run = stack.json("run", "flow.py", "flow", "--no-wait", "--project", project, cwd=folder)
    assert list(run) == KEYS
    over = stack.json("runs", "watch", run["run_id"], "--project", project)
    assert over["status"] == "succeeded"
    shown = stack.json("runs", "show", run["run_id"], "--project", project)
    assert [step["path"] for step in shown["step_list"]] == ["double", "double#2", "add"]
    assert stack.json("runs", "list", "--project", project)[0]["run_id"] == run["run_id"]


def test_a_single_task_runs(stack: Stack, project: str, folder: Path) -> None:
    assert stack.json("run", "flow.py", "double", "--n", 4, "--project", project, cwd=folder)["outputs"] == {
        "result": 8
    }


def test_the_cache_tells_what_it_saved(stack: Stack, project: str, folder: Path) -> None:
    for _ in range(2):
        stack.json("run", "flow.py", "double", "--n", 4, "--project", project, cwd=folder)
    stats = stack.json("cache", "stats", "--project", project)
    assert (stats["entries"], stats["hits"], stats["misses"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run", "flow.py", "flo"), "flow"),
        (("run", "flow.py"), "workflows: flow, failing, files; tasks: double, add, broken, read, write"),
        (("run", "nothing.py", "flow"), "nothing.py"),
        (("run", "flow.py", "flow", "--n-items", "x"), "n_items"),
        (("run", "flow.py", "failing"), "n: is required"),
        (("run", "flow.py", "files", "--data", "no.txt"), "no.txt"),
        (("launch", "unknown"), "unknown"),
        (("runs", "show", "unknown"), "unknown"),
        (("artifacts", "show", "999999"), "999999"),
    ],
)
def test_bad_input_is_2_and_says_what_is_wrong(
    stack: Stack, project: str, folder: Path, arguments: tuple[str, ...], told: str
) -> None:
    done = stack.cli(*arguments, "--project", project, status=2, cwd=folder)
    assert told in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("local", [[], ["--local"]])
def test_a_file_that_does_not_import_shows_its_own_traceback(stack: Stack, folder: Path, local: list[str]) -> None:
    (folder / "wrong.py").write_text("def f():\n    return 1 / 0\n\nf()\n")
    done = stack.cli("run", "wrong.py", "flow", *local, status=2, cwd=folder)
    assert "return 1 / 0" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert "celesta/loading.py" not in done.stderr


def test_a_local_run_needs_no_server_and_has_a_cache(home: Path, folder: Path) -> None:
    alone = Stack(home)
    assert "celesta up" in alone.cli("run", "flow.py", "flow", status=3, cwd=folder).stderr
    first = alone.json("run", "flow.py", "flow", "--local", cwd=folder)
    assert list(first) == KEYS
    assert (first["outputs"], first["steps"]["succeeded"]) == ({"result": 6}, 3)
    assert alone.json("run", "flow.py", "flow", "--local", cwd=folder)["steps"]["cached"] == 2
    failed = alone.cli("run", "flow.py", "failing", "--n", 1, "--local", status=1, cwd=folder)
    assert "ValueError: cannot take 2" in failed.stderr
