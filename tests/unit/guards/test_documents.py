"""What the documents say and what the tree holds are the same thing."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Spelled in parts, so that this file does not find itself.
FOREIGN = ["/" + "work/", "/" + "farm/", "." + "library", "/" + "root/", "/" + "home/"]


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_the_readme_shows_the_quickstart_example_as_it_is() -> None:
    shown = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    example = (ROOT / "examples/quickstart.py").read_text()
    assert shown
    assert example.endswith(shown.group(1))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_commands_of_make_are_all_explained() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.search(r"^\.PHONY: (.*)$", makefile, re.M)[1].split())  # type: ignore[index]
    assert targets == set(re.findall(r"^([a-z]+):.*## ", makefile, re.M))


def test_no_file_of_ours_has_grown_past_400_lines() -> None:
    long = {path.name: count for path in tracked("*.py", "*.js") if (count := len(path.read_text().splitlines())) > 400}
    assert long == {}


def test_no_path_of_the_machine_that_wrote_it_is_in_the_tree() -> None:
    texts = {path: path.read_text(errors="ignore") for path in tracked()}
    assert [(path.name, word) for path, text in texts.items() for word in FOREIGN if word in text] == []
