"""`python -m celesta.runtime DOCUMENT`: runs the one step that a file describes, as a container does.

Exits 0 when the step succeeded, 1 when its result says that it failed, 2 on wrong usage, 3 when the store does not
answer. Stdout and stderr go to the step's log.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from celesta.errors import CelestaError
from celesta.runtime import enter
from celesta.runtime.bundles import unpacked
from celesta.runtime.step import run_step

USAGE = "usage: python -m celesta.runtime DOCUMENT"


def main(arguments: list[str]) -> int:
    """Runs the step described in the file that is the only argument; the exit status."""
    if len(arguments) != 1:
        return _refuse(USAGE)
    try:
        document = json.loads(Path(arguments[0]).read_bytes())
    except (OSError, ValueError) as error:
        return _refuse(f"{arguments[0]} is not a step document: {error}")
    terminal = os.dup(2)
    try:
        with tempfile.TemporaryDirectory(prefix="celesta-step-", ignore_cleanup_errors=True) as place:
            return _run(document, place)
    except CelestaError as error:
        os.dup2(terminal, 2)
        print(f"step {document.get('path')!r}: {error}", file=sys.stderr)
        return 3 if error.kind == "system" else 1


def _run(document: dict[str, Any], place: str) -> int:
    from celesta.store import open_store

    store = open_store(document["store_url"], os.environ.get("CELESTA_S3_ENDPOINT_URL"))
    home = Path(os.environ.get("CELESTA_HOME") or place)
    secrets = enter.secrets(document, os.environ)
    os.environ.update(document.get("env") or {})
    root = None
    if document["bundle"]:
        root = os.fspath(unpacked(store, document["bundle"], home / "bundles"))
        enter.put_on_path(root)
    log = enter.open_log(f"{place}/log.txt")
    enter.redirect_output(log)
    enter.open_text_streams()
    os.mkdir(f"{place}/work")
    os.chdir(f"{place}/work")
    result = run_step(
        document,
        store,
        log=log,
        into=f"{place}/inputs",
        root=root,
        secrets=secrets,
        checkpoints=os.fspath(home / "checkpoints"),
        worker=f"{os.uname().nodename}:{os.getpid()}",
    )
    return 0 if result["status"] == "succeeded" else 1


def _refuse(message: str) -> int:
    print(message, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
