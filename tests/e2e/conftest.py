"""What the end-to-end tests share: workflow files of their own, in a project of their own."""

import shutil
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from tests.fixtures.stack import Stack

ROOT = Path(__file__).parents[2]
WORKFLOWS = Path(__file__).parent / "workflows"


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[str], Path]:
    """``copy_of("examples/digits.py")``: a copy alone in a folder, to run and to edit."""

    def copy(name: str) -> Path:
        source = ROOT / name if "/" in name else WORKFLOWS / name
        return Path(shutil.copy(source, tmp_path / source.name))

    return copy


@pytest.fixture
def project(stack: Stack) -> str:
    """A new project on the shared stack: nothing is cached in it yet."""
    from celesta.client import Client

    name = f"test-{uuid4().hex[:8]}"
    with Client(stack.url) as client:
        client.create_project(name)
    return name
