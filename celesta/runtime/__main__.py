"""`python -m celesta.runtime [DOCUMENT]`: runs one step, as the program of a container.

The step is what the file describes or, without one, what the server says that the token in the environment is for
(contracts, section 6.1). Exits 0 when the step succeeded, 1 when its result says that it failed, 2 on wrong usage, 3
when the store or the server does not answer, 143 when it was told to stop. The step's output is shown and kept.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from celesta.errors import CelestaError
from celesta.runtime.bundles import unpacked
from celesta.runtime.granted import Granted
from celesta.runtime.supervise import SYSTEM, Supervisor
from celesta.store.base import Store

USAGE = "usage: python -m celesta.runtime [DOCUMENT], or CELESTA_STEP_URL and CELESTA_STEP_TOKEN instead of a document"

Document = dict[str, Any]


def main(arguments: list[str], environ: Mapping[str, str] = os.environ) -> int:
    """Runs one step; the exit status."""
    called_back = "CELESTA_STEP_URL" in environ and "CELESTA_STEP_TOKEN" in environ
    if len(arguments) > 1 or (not arguments and not called_back):
        return _refuse(USAGE)
    try:
        return _run_granted() if not arguments else _run_file(arguments[0])
    except CelestaError as error:
        print(error, file=sys.stderr)
        return SYSTEM


def _run_file(path: str) -> int:
    try:
        document = json.loads(Path(path).read_bytes())
        url = document["store_url"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        return _refuse(f"{path} is not a step document: {error}")
    return _supervise(document, partial(_store_at, url))


def _run_granted() -> int:
    granted = Granted()
    return _supervise(granted.document, granted.open, travels=True, tick=granted.renew)


def _store_at(url: str) -> Store:
    from celesta.store import open_store

    return open_store(url, os.environ.get("CELESTA_S3_ENDPOINT_URL"))


def _supervise(document: Document, open_store: Any, **more: Any) -> int:
    parent = os.environ.get("CELESTA_STEP_FOLDER")
    grace = float(os.environ.get("CELESTA_STEP_GRACE_SECONDS", "20"))
    with tempfile.TemporaryDirectory(
        prefix="celesta-step-", dir=f"{parent}/work" if parent else None, ignore_cleanup_errors=True
    ) as folder:
        place = Path(folder)
        home = Path(os.environ.get("CELESTA_HOME") or place)
        supervisor = Supervisor(document, open_store, place, home=home, grace_seconds=grace, **more)

        def bundle() -> str | None:
            digest = document["bundle"]
            return os.fspath(unpacked(supervisor.store, digest, home / "bundles")) if digest else None

        return supervisor.run(bundle)


def _refuse(message: str) -> int:
    print(message, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
