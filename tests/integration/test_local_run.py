"""Workflows written by a user, traced by the SDK and run in this process: the cache behaviours that users rely on."""

from pathlib import Path
from typing import Any

import pytest

from celesta.loading import load_file
from celesta.local import LocalRun, local_store, run_local
from celesta.spec import workflow_spec

FLOW = """
from typing import NamedTuple
import numpy as np
import pandas as pd
from celesta import File, current, task, workflow, unmapped

class Best(NamedTuple):
    rate: float
    score: float

@task(cache=True)
def load(n: int) -> pd.DataFrame:
    return pd.DataFrame({"x": np.arange(n), "y": np.arange(n) % 2})

@task(cache=True)
def train(data: pd.DataFrame, rate: float) -> File:
    current().log_metric("rate", rate)
    with open("model.txt", "w") as stream:
        stream.write(f"{rate * len(data)}")
    return File("model.txt")

@task(cache=True)
def score(model: File) -> float:
    return float(model.read_text())

@task(cache=True)
def pick(scores: list[float], rates: list[float]) -> Best:
    at = int(np.argmax(scores))
    return Best(rates[at], scores[at])

@workflow
def search(n: int = 10, rates: list[float] = [0.5, 1, 2]) -> Best:
    data = load(n=n)
    models = train.map(data=unmapped(data), rate=rates)
    return pick(scores=score.map(model=models), rates=rates)
"""


class Project:
    """A user's file, and a home to run it in."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "flow.py"
        self.home = folder / "home"
        self.file.write_text(FLOW)

    def edit(self, old: str, new: str) -> None:
        text = self.file.read_text()
        assert old in text
        self.file.write_text(text.replace(old, new))

    def run(self, name: str = "search", **options: Any) -> LocalRun:
        spec, blobs = workflow_spec(load_file(self.file).find(name), file=str(self.file))
        store = local_store(self.home)
        for data in blobs.values():
            store.put_blob(data)
        return run_local(spec, {}, self.home, **options)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def ran(run: LocalRun) -> list[str]:
    return [path for path, state in run.states.items() if state == "succeeded"]


def test_the_second_run_is_wholly_cached_and_gives_the_same(project: Project) -> None:
    first, second = project.run(), project.run()
    assert first.status == second.status == "succeeded"
    assert first.document()["outputs"] == second.document()["outputs"] == {"rate": 2.0, "score": 20.0}
    assert (first.steps["total"], first.steps["succeeded"]) == (8, 8)
    assert (second.steps["total"], second.steps["cached"]) == (8, 8)


def test_changing_one_element_of_a_mapped_list_computes_only_the_new_point(project: Project) -> None:
    project.run()
    project.edit("[0.5, 1, 2]", "[0.5, 3, 2]")
    assert ran(project.run()) == ["train[1]", "score[1]", "pick"]


def test_a_new_comment_and_a_new_layout_run_nothing(project: Project) -> None:
    project.run()
    project.edit(
        "    return float(model.read_text())",
        "    # the number in the file\n    return float(\n        model.read_text())",
    )
    assert ran(project.run()) == []


def test_editing_a_body_runs_the_task_again_and_only_dependents_whose_inputs_changed(project: Project) -> None:
    project.run()
    project.edit("float(model.read_text())", "float(model.read_text().strip())")
    assert ran(project.run()) == ["score[0]", "score[1]", "score[2]"]
    project.edit("float(model.read_text().strip())", "min(float(model.read_text()), 12)")
    assert ran(project.run()) == ["score[0]", "score[1]", "score[2]", "pick"]


def test_what_fails_is_told_with_the_users_own_line(project: Project) -> None:
    project.edit("return float(model.read_text())", "return float(model.read_text()) / (len(model.read_text()) - 3)")
    run = project.run()
    assert run.status == "failed"
    assert run.error is not None
    assert run.error["path"] == "score[0]"
    assert run.error["type"] == "ZeroDivisionError"
    assert "flow.py" in run.error["traceback"]
    assert (run.steps["failed"], run.steps["skipped"], run.steps["succeeded"]) == (1, 1, 6)


def test_a_refused_output_names_the_file_and_line_of_its_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(tmp_path)
    project.edit("return float(model.read_text())", "return model.read_text()")
    monkeypatch.chdir(tmp_path)
    ended = project.run()
    line = project.file.read_text().split("\n").index("def score(model: File) -> float:")
    assert ended.error
    assert ended.error["message"].startswith(f"flow.py:{line}: what it returned does not fit its hint")
    assert 'output "result": expected float, got' in ended.error["message"]
    assert ended.log is None, "it printed nothing, so there is no log to point to"
