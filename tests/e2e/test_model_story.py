"""As a new user would: train twice, promote the better, ask the file where it came from, reproduce it, go back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.fixtures.stack import Stack


def test_from_two_trainings_to_a_rollback(
    stack: Stack, project: str, copy_of: Callable[[str], Path], tmp_path: Path
) -> None:
    file = copy_of("examples/digits.py")

    def ask(*words: object, status: int = 0) -> object:
        return stack.json(*words, "--project", project, status=status)

    def told(*words: object, status: int = 0) -> str:
        done = stack.cli(*words, "--project", project, status=status)
        return done.stdout + done.stderr

    settings = {"worse": ("[0.01]", "[0.00001]"), "better": ("[10.0]", "[0.001]")}
    runs = {}
    for name, (c, gamma) in settings.items():
        runs[name] = ask("run", file, "digits", "--c", c, "--gamma", gamma)["run_id"]
        ask("models", "register", "digits", "--run", runs[name], "--notes", name)

    table = ask("runs", "compare", *runs.values(), "--sort", "evaluate.accuracy", "--descending")
    assert [row["run_id"] for row in table["runs"]] == [runs["better"], runs["worse"]]
    assert ask("models", "alias", "digits", "production", 1)["state"] == "done"
    promoted = ask("models", "alias", "digits", "production", 2)
    gained = {metric["name"]: metric["change"] for metric in promoted["metrics"]}
    assert gained["evaluate.accuracy"] > 0
    assert 'did you mean "production"' in told("models", "rollback", "digits", "producton", status=2)

    version = stack.json("models", "show", "digits", "--project", project)["version_list"][0]
    stack.cli("artifacts", "get", version["artifact"], "--output", tmp_path / "found.bin", "--project", project)
    everywhere = ask("artifacts", "find", tmp_path / "found.bin")["items"]
    found = [item for item in everywhere if item["project"] == project]
    maker = found[0]["run_id"]
    assert maker == runs["better"]
    assert found[0]["models"] == [{"model": "digits", "number": 2, "aliases": ["production"]}]
    assert "version 2 of the model digits, production" in told("artifacts", "find", tmp_path / "found.bin")
    lineage = told("artifacts", "lineage", found[0]["id"])
    assert "c = [10.0]" in lineage
    assert "load (run" in lineage

    again = ask("runs", "reproduce", maker)
    assert again["verdict"] == "identical", again
    back = told("models", "rollback", "digits", "production")
    assert "Rolled back production of digits from version 2 to version 1." in back
    assert "evaluate.accuracy" in back
    assert ask("models", "show", "digits")["aliases"] == {"production": 1}
