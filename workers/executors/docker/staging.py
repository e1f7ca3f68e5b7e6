"""An attempt as a folder on this host, for a container that mounts it and reaches nothing else of ours.

`Staged` lays what the step needs: for a Python task a small store with its bundle and inputs in it and the step
document that names that store, for a container task its inputs as files. Afterwards `keep` takes over what the
container left, and believes nothing of it: every blob is named anew by its bytes, no link is followed, and a result
that is not one is the step's failure.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import celesta
from app.services.step_result import check_result
from celesta.codecs.reach import MALFORMED, blobs_within, values_of
from celesta.command import FOLDER
from celesta.errors import InputError, StoreError
from celesta.runtime import checkpoints, exchange
from celesta.runtime.leave import create_result
from celesta.store import Store, prefix_of
from celesta.store.local import LocalStore
from workers.executors.base import Document
from workers.executors.containers import read_claim
from workers.executors.docker.engine import owner

RUNTIME = Path(celesta.__file__).parent
"""The package that is mounted into the containers of Python tasks."""
_BLOBS = "blobs/sha256/"
_KEPT = ("log.txt", "report.html")


class Staged:
    """The folder of one attempt; a context manager that removes it."""

    def __init__(self, document: Document, store: Store, parent: Path) -> None:
        self.document, self.store = document, store
        parent.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix="step-", dir=parent))
        self.folder.chmod(0o755)
        self._prefix = prefix_of(document)
        self._checkpoints = self.folder / "home/checkpoints"
        self._given: set[str] = set()

    def __enter__(self) -> Staged:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def lay(self) -> None:
        """Puts there what the step needs. Raises `StoreError`, `CodecError`."""
        for name in ("runtime/celesta", "in", "out", "home", "work"):
            (self.folder / name).mkdir(parents=True)
        if self.document["kind"] == "container":
            exchange.lay(self.document, self.store, str(self.folder))
            return
        checkpoints.fetch(self.store, self.document, self._checkpoints)
        small = LocalStore(self.folder / "store")
        for digest in self._needed():
            with self._copied(partial(self.store.fetch_blob, digest)) as path:
                small.put_blob_file(path)
        told = self.document | {"store_url": f"file://{FOLDER}/store"}
        (self.folder / "step.json").write_text(json.dumps(told), "utf-8")

    def keep(self, started_ms: int) -> Document | None:
        """The result that the container left, durable in the store; None when it left none. Raises `StoreError`.

        A result that could not be one is refused with `InputError`.
        """
        if self.document["kind"] == "container":
            return exchange.take(self.document, self.store, str(self.folder), owner(), started_ms)
        small = LocalStore(self.folder / "store")
        found = read_claim(small, f"{self._prefix}result.json")
        if found is None:
            return None
        result = check_result(found, self.document)
        for digest in self._made(small):
            with self._copied(partial(small.fetch_blob, digest)) as path:
                self.store.put_blob_file(path)
        for name in _KEPT:
            if (stream := small.open(f"{self._prefix}{name}")) is not None:
                with self._copied(partial(_write, stream)) as path:
                    self.store.put_file(f"{self._prefix}{name}", path)
        self._require_there(result, small)
        kept = create_result(result, self.store)
        if kept["status"] == "succeeded":
            checkpoints.discard(self.store, self.document, str(self._checkpoints))
        return kept

    def keep_checkpoint(self) -> None:
        """Keeps what an attempt without success has left for the next one. Raises `StoreError`."""
        checkpoints.keep(self.store, self.document, self._checkpoints)

    def _needed(self) -> set[str]:
        defaults = (port.get("default") for port in self.document["interface"]["inputs"])
        refs = [*self.document["inputs"].values(), *(ref for ref in defaults if ref is not None)]
        self._given = set(blobs_within(refs, self.store))
        return self._given | ({self.document["bundle"]} if self.document["bundle"] else set())

    def _made(self, small: LocalStore) -> list[str]:
        digests = (key.rpartition("/")[2] for key in small.list(_BLOBS))
        return [digest for digest in digests if digest not in self._given and digest != self.document["bundle"]]

    def _require_there(self, result: Document, small: Store) -> None:
        """What it was given and what it left, and nothing else of the store: that may be another project's. So for what
        it traced, of which the engine makes steps that are given what it names."""
        traced = result.get("dynamic")
        try:
            constants = values_of(json.loads(small.get_blob(traced))) if traced else ()
            named = [*blobs_within([*result["outputs"].values(), *constants], small)]
            named += filter(None, [result.get("environment")])
            missing = [digest for digest in named if not small.has_blob(digest)]
        except (StoreError, *MALFORMED) as error:
            raise InputError(f"the result names a value that the container did not leave: {error}") from None
        if missing:
            raise InputError(f"the result names blob {missing[0]}, which the container did not leave")

    @contextlib.contextmanager
    def _copied(self, write: Callable[[Path], object]) -> Iterator[Path]:
        """A file for a moment, beside the folder, so that no container can exchange it; of any size."""
        with tempfile.TemporaryDirectory(prefix="copy-", dir=self.folder.parent) as folder:
            path = Path(folder) / "copy"
            write(path)
            yield path


def _write(stream: BinaryIO, path: Path) -> None:
    with stream, path.open("wb") as file:
        shutil.copyfileobj(stream, file)
