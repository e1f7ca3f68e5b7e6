"""Checkpoints between attempts: a folder on the host, and an archive in the store for those who come from elsewhere.

Called by whoever runs a step, before it and after one that did not succeed: the process executor, and the program of
a step's container; and by the REST API, which gives such a program the newest one. An archive is an object of the
attempt that left it, `checkpoint.tar`. Beside the folders of a run stands which attempt had each last, so that a host
to which a step comes back knows whether another one has gone on meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from celesta.errors import StoreError
from celesta.runtime.context import checkpoint_folder, last_user
from celesta.store.base import Store, prefix_of, step_prefix
from celesta.tokens import FIRST_TOKEN, order_of

NAME = "checkpoint.tar"


def newest(store: Store, run: str, path: str) -> str | None:
    """The key of the checkpoint that the latest attempt at a step left. None: none did."""
    return max(_all(store, run, path), key=lambda key: order_of(_token(key)), default=None)


def fetch(store: Store, document: Mapping[str, Any], root: str | os.PathLike[str]) -> None:
    """Lays the newest checkpoint below `root`, where the step looks for it, unless it is there. Raises `StoreError`."""
    if document["token"] == FIRST_TOKEN:
        return
    key = _key_to_read(store, document)
    folder = checkpoint_folder(root, document["run"], document["path"])
    here = _read(last_user(folder)) if folder.is_dir() else None
    if key is None or (here is not None and order_of(here) >= order_of(_token(key))):
        return
    source = store.open(key)
    if source is not None:
        with source:
            _extract(source, folder)


def keep(store: Store, document: Mapping[str, Any], root: str | os.PathLike[str]) -> None:
    """Stores the checkpoint of an attempt that has asked for one. Raises `StoreError`."""
    import tarfile
    import tempfile

    folder = checkpoint_folder(root, document["run"], document["path"])
    if not folder.is_dir() or _read(last_user(folder)) != document["token"]:
        return
    try:
        with tempfile.NamedTemporaryFile(suffix=".tar", dir=folder.parent) as file:
            with tarfile.open(fileobj=file, mode="w") as archive:
                archive.add(folder, ".")
            file.flush()
            store.put_file(f"{prefix_of(document)}{NAME}", file.name)
    except (OSError, tarfile.TarError) as error:
        message = f"the checkpoint of step {document['path']!r} cannot be kept: {error}"
        raise StoreError(message, code="checkpoint", retryable=False) from error


def discard(store: Store, document: Mapping[str, Any], folder: str) -> None:
    """Removes what the attempts at a step have left, once one has succeeded."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        last_user(Path(folder)).unlink()
    forget(store, document["run"], document["path"], document["token"])


def forget(store: Store, run: str, path: str, token: str) -> None:
    """Removes the archives of a step of which this attempt has succeeded. For a step in a container the API does it."""
    if token == FIRST_TOKEN:
        return
    with contextlib.suppress(StoreError):  # What stays behind is one more object of the run.
        for key in list(_all(store, run, path)):
            store.delete(key)


def _extract(source: Any, folder: Path) -> None:
    """Whole or not at all: what was there before goes when the new one is complete."""
    import tarfile

    fresh = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    with tarfile.open(fileobj=source, mode="r|") as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extractall(fresh, filter="data")
        else:
            archive.extractall(fresh)  # noqa: S202 - Python 3.11 before 3.11.4; the archive is the step's own
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def _all(store: Store, run: str, path: str) -> Iterator[str]:
    return (key for key in store.list(step_prefix(run, path, "").removesuffix("/")) if key.endswith(f"/{NAME}"))


def _token(key: str) -> str:
    return key.rsplit("/", 2)[1]


def _read(marker: Path) -> str | None:
    try:
        return marker.read_text()
    except FileNotFoundError:
        return None


def _key_to_read(store: Store, document: Mapping[str, Any]) -> str | None:
    """A step that reads through the API names its own object, and is given the newest."""
    from celesta.store.step import StepStore

    if isinstance(store, StepStore):
        return f"{prefix_of(document)}{NAME}"
    return newest(store, document["run"], document["path"])
