"""What runs came to, as methods of `celesta.client.Client`: artifacts and where they came from, runs held against each
other, reproductions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import uuid4

from celesta.client.caller import Caller, Document, row_number
from celesta.client.transfer import CHUNK_BYTES, save


class Results(Caller):
    def artifacts(
        self, *, run: str | None = None, digest: str | None = None, limit: int | None = None
    ) -> Iterator[Document]:
        return self._list(limit, "artifacts", run=run, digest=digest)

    def artifact(self, artifact_id: str) -> Document:
        return self._get("artifacts", _number(artifact_id))

    def lineage(self, artifact_id: str, direction: str = "up", depth: int | None = None) -> Document:
        """Where an artifact came from (`up`) or what became of it (`down`)."""
        return self._get("artifacts", _number(artifact_id), "lineage", direction=direction, depth=depth)

    def find(self, digest: str) -> list[Document]:
        """The artifacts that are, or hold, a file of this SHA-256: the one that was made first comes first."""
        return list(self._get("artifacts", "find", digest=digest)["items"])

    def download(self, artifact_id: str, target: Path, digest: str | None = None) -> int:
        """Stream an artifact's content to `target` (whole or not at all); returns its bytes.

        With `digest`, content that is not what was stored is refused with `StoreError`.
        """
        with self.http.stream("GET", self._path("artifacts", _number(artifact_id), "content")) as response:
            return save(iter(lambda: response.read(CHUNK_BYTES), b""), target, digest)

    def diff(self, run_id: str, other: str) -> Document:
        return self._get("runs", run_id, "diff", other)

    def environments(self, run_id: str) -> list[Document]:
        """Python and the packages that the steps of a run had, each environment once."""
        return list(self._get("runs", run_id, "environment")["items"])

    def compare(self, run_ids: Iterable[str], sort: str | None = None, descending: bool = False) -> Document:
        return self._get("comparison", run=list(run_ids), sort=sort, descending=descending)

    def series(self, run_ids: Iterable[str], metric: str) -> Document:
        return self._get("comparison", "series", run=list(run_ids), metric=metric)

    def reproduce(self, run_id: str, idempotency_key: str | None = None) -> Document:
        """Start the same version with the same inputs again, without the cache; the document of the new run."""
        return self._post({"idempotency_key": idempotency_key or uuid4().hex}, "runs", run_id, "reproduce")

    def reproduction(self, run_id: str) -> Document:
        """What came of a reproduction, once it has ended."""
        return self._get("runs", run_id, "reproduction")

    def export(self, run_id: str, target: Path) -> int:
        """Write a run as one archive to `target`, whole or not at all; returns its bytes."""
        with self.http.stream("GET", self._path("runs", run_id, "export")) as response:
            return save(iter(lambda: response.read(CHUNK_BYTES), b""), target)

    def import_run(self, archive: Path) -> Document:
        """Make a run of an archive; the same archive is the same run."""
        headers = {"Content-Type": "application/zip", "Content-Length": str(archive.stat().st_size)}
        with (
            archive.open("rb") as file,
            self.http.stream("POST", self._path("runs", "import"), file, headers) as response,
        ):
            return dict(json.loads(response.read()))


def _number(artifact_id: str) -> str:
    return row_number(artifact_id, "artifact", "celesta artifacts list")
