"""Revisions are one chain: two that were written at the same time would leave a database that cannot be upgraded."""

from __future__ import annotations

import re
from pathlib import Path

VERSIONS = Path(__file__).parents[3] / "migrations" / "versions"


def test_the_revisions_are_one_chain_and_their_files_are_named_by_it() -> None:
    found = {file.name: file.read_text() for file in sorted(VERSIONS.glob("*.py"))}
    names = [re.search(r'^revision = "(\w+)"$', text, re.MULTILINE).group(1) for text in found.values()]  # type: ignore[union-attr]
    before = [re.search(r"^down_revision = (.+)$", text, re.MULTILINE).group(1) for text in found.values()]  # type: ignore[union-attr]
    assert before == ["None", *(f'"{name}"' for name in names[:-1])]
    assert [file.partition("_")[0] for file in found] == names
