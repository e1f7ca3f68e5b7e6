"""A user's file on its way to a spec. What it prints goes to stderr: stdout is for the result."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from celesta.errors import InputError, Problem

Traced = tuple[dict[str, Any], dict[str, bytes]]


def spec_of(path: Path, name: str) -> Traced:
    """Spec and blobs of one workflow or task of a file."""
    from celesta.loading import load_file
    from celesta.spec import workflow_spec

    with stdout_on_stderr():
        return workflow_spec(load_file(path).find(name), file=str(path))


def names_in(path: Path) -> str:
    """What a file has to run, in words."""
    from celesta.loading import load_file

    with stdout_on_stderr():
        return load_file(path).told


def specs_of(path: Path, with_tasks: bool = False) -> list[Traced]:
    """Spec and blobs of every workflow of a file; of every task too when asked, or when there is no workflow."""
    from celesta.loading import load_file
    from celesta.spec import workflow_spec

    with stdout_on_stderr():
        loaded = load_file(path)
        tasks = loaded.tasks if with_tasks or not loaded.workflows else {}
        subjects = tasks | loaded.workflows
        if not subjects:
            raise InputError([Problem(str(path), "has no workflow and no task; decorate a function with @workflow")])
        return [workflow_spec(subject, file=str(path)) for subject in subjects.values()]


@contextmanager
def stdout_on_stderr() -> Iterator[None]:
    """Send to stderr what user code prints, also from C or a child process."""
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)
