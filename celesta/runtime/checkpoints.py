"""Checkpoints that travel: between attempts that have no disk in common.

Called by the program of a step's container, before the step and after one that did not succeed, and by the REST API,
which gives a step the newest one. A checkpoint is one object of the attempt that left it, `checkpoint.tar`.
"""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from celesta.runtime.context import checkpoint_folder
from celesta.store.base import Store, step_prefix

NAME = "checkpoint.tar"


def newest(store: Store, run: str, path: str) -> str | None:
    """The key of the checkpoint that the latest attempt at a step left. None: none did."""
    steps = step_prefix(run, path, "").removesuffix("/")
    tokens = [key.removeprefix(steps).partition("/")[0] for key in store.list(steps) if key.endswith(f"/{NAME}")]
    latest = max(tokens, key=lambda token: [int(part) for part in token.split(".")], default=None)
    return f"{steps}{latest}/{NAME}" if latest else None


def fetch(store: Store, document: Mapping[str, Any], root: Path) -> None:
    """Lays the newest checkpoint below `root`, where the step looks for it; the first attempt has none."""
    if document["attempt"] <= 1:
        return
    key = _key_to_read(store, document)
    source = store.open(key) if key else None
    if source is None:
        return
    folder = checkpoint_folder(root, document["run"], document["path"])
    folder.mkdir(parents=True, exist_ok=True)
    with source, tarfile.open(fileobj=source, mode="r|") as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extractall(folder, filter="data")
        else:
            archive.extractall(folder)  # noqa: S202 - Python 3.11 before 3.11.4; the archive is the step's own


def keep(store: Store, document: Mapping[str, Any], root: Path) -> None:
    """Stores the checkpoint of a step that has one. Raises `StoreError`."""
    folder = checkpoint_folder(root, document["run"], document["path"])
    if not folder.is_dir():
        return
    with tempfile.NamedTemporaryFile(suffix=".tar") as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            archive.add(folder, ".")
        file.flush()
        store.put_file(f"{_prefix(document)}{NAME}", file.name)


def _key_to_read(store: Store, document: Mapping[str, Any]) -> str | None:
    """A step that reads through the API names its own object, and is given the newest."""
    from celesta.store.step import StepStore

    if isinstance(store, StepStore):
        return f"{_prefix(document)}{NAME}"
    return newest(store, document["run"], document["path"])


def _prefix(document: Mapping[str, Any]) -> str:
    return step_prefix(document["run"], document["path"], document["token"])
