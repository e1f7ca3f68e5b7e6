"""Where a value came from, at the command line: as somebody asks who has a file and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.fixtures.stack import Stack

FILE = Path(__file__).with_name("workflows") / "results.py"


def test_a_file_alone_tells_the_run_that_made_it_and_what_it_was_made_of(
    stack: Stack, project: str, tmp_path: Path
) -> None:
    def ask(*words: object) -> tuple[object, ...]:
        return (*words, "--project", project)

    def here(name: str) -> list[dict[str, Any]]:
        """Who made the file, in this project: others may have made the same."""
        items = stack.json(*ask("artifacts", "find", tmp_path / name))["items"]
        return [item for item in items if item["project"] == project]

    first = stack.json(*ask("run", FILE, "packed", "--n", 3))["run_id"]
    stack.json(*ask("run", FILE, "packed", "--n", 3))
    (made,) = [a for a in stack.json(*ask("artifacts", "list", "--run", first)) if a["path"] == "pack"]
    stack.cli(*ask("artifacts", "get", made["id"], "--output", tmp_path / "far-away.bin"))
    found = here("far-away.bin")
    assert (found[0]["run_id"], found[0]["path"], found[0]["cached"]) == (first, "pack", False)
    assert [item["cached"] for item in found] == [False, True]
    told = stack.cli(*ask("artifacts", "find", tmp_path / "far-away.bin")).stdout
    assert f"made by run {first} of {project}/packed@" in told
    tree = stack.cli(*ask("artifacts", "lineage", made["id"])).stdout
    assert "numbers ← result of measure" in tree
    assert "n = 3" in tree
    down = stack.json(*ask("artifacts", "lineage", made["id"], "--down"))
    assert {edge["kind"] for edge in down["edges"]} == {"cache", "value"}

    folder = next(a for a in stack.json(*ask("artifacts", "list", "--run", first)) if a["path"] == "unpack")
    assert folder["type"] == "directory"
    (tmp_path / "part").write_text("the number 2")
    part = here("part")[0]
    assert (part["path"], part["part"]) == ("unpack", "numbers/2.txt")
    (tmp_path / "strange").write_text("nobody made this")
    assert "no run that you may see" in stack.cli(*ask("artifacts", "find", tmp_path / "strange"), status=2).stderr


def test_a_run_is_carried_to_another_project_in_one_file(stack: Stack, project: str, tmp_path: Path) -> None:
    run = stack.json("run", FILE, "packed", "--n", 2)["run_id"]
    stack.cli("runs", "export", run, tmp_path / "out.zip")
    made = stack.json("runs", "import", tmp_path / "out.zip", "--project", project)
    assert (made["origin"], made["project"]) == ({"run_id": run, "kind": "import"}, project)
    assert stack.json("runs", "reproduce", made["run_id"], "--project", project)["verdict"] == "identical"
    (tmp_path / "cut.zip").write_bytes((tmp_path / "out.zip").read_bytes()[:-100])
    assert "not all of one" in stack.cli("runs", "import", tmp_path / "cut.zip", status=2).stderr
    assert "no run" in stack.cli("runs", "export", "nothing", tmp_path / "no.zip", status=2).stderr
    assert not (tmp_path / "no.zip").exists()
