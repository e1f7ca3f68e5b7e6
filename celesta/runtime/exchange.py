"""Inputs and outputs of a container task as files: laid before its command starts, taken when it has ended.

Called by executors on the host of the container, and as the program of the containers beside it:

    python -m celesta.runtime.exchange lay      # before; ends
    python -m celesta.runtime.exchange take     # beside; waits for SIGTERM, then stores what is there

A value that is JSON lies as JSON, an array as `.npy`, a table as Parquet, a file as it is, a directory as a folder.
Whatever is wrong with the outputs is the step's failure, with all problems at once.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from celesta.codecs.intake import from_plain
from celesta.codecs.paths import decode as decode_path
from celesta.codecs.paths import encode as encode_path
from celesta.codecs.plain import to_plain
from celesta.codecs.reach import children
from celesta.codecs.tagged import Unstorable
from celesta.command import FOLDER, input_path, output_path
from celesta.errors import CelestaError, CodecError, InputError, Problem
from celesta.files import Directory, File
from celesta.runtime.call import blank_result
from celesta.runtime.failures import error_document, kind_of
from celesta.runtime.granted import Granted
from celesta.runtime.leave import create_result
from celesta.store.base import Store, prefix_of

Document = dict[str, Any]
MOST_JSON_BYTES = 64 << 20
_AS_THEY_ARE = ("file", "ndarray", "table", "pickle")


def lay(document: Mapping[str, Any], store: Store, folder: str = FOLDER) -> None:
    """Puts each input where the command finds it. Raises `CodecError` for one that has no form as files."""
    for name, ref in document["inputs"].items():
        path = Path(input_path(name, folder))
        path.parent.mkdir(parents=True, exist_ok=True)
        if ref["type"] == "directory":
            shutil.copytree(decode_path(ref, store, Path(folder, "laid")).path, path)
        elif ref["type"] in _AS_THEY_ARE:
            store.fetch_blob(ref["blob"], path)
            path.chmod(0o444)
        else:
            path.write_text(json.dumps(_json_of(name, ref, store), ensure_ascii=False), "utf-8")
            path.chmod(0o444)
    Path(output_path("x", folder)).parent.mkdir(parents=True, exist_ok=True)


def take(
    document: Mapping[str, Any], store: Store, folder: str = FOLDER, worker: str = "", started_ms: int | None = None
) -> Document:
    """The result of the step, going by its outputs: what the command left is stored, and failed what is not right.

    Whether the command itself ended well is for others to say; it was started at `started_ms`. Raises `StoreError`.
    """
    result = blank_result(document, worker)
    if started_ms is not None:
        result["timings"]["body_seconds"] = (result["timings"]["started_ms"] - started_ms) / 1000
        result["timings"]["started_ms"] = started_ms
    result["input_digests"] = {name: ref["digest"] for name, ref in document["inputs"].items()}
    started, outputs, problems = time.perf_counter(), {}, []
    for port in document["interface"]["outputs"]:
        path = Path(output_path(port["name"], folder))
        try:
            outputs[port["name"]] = _taken(path, port["type"], store, port["name"], folder)
        except InputError as refusal:
            problems += refusal.problems
    if problems:
        wrong = InputError("the command did not leave the outputs that the task declares", problems)
        result["error"] = error_document(wrong, "user")
    else:
        result |= {"status": "succeeded", "outputs": outputs}
    result["timings"]["store_seconds"] = round(time.perf_counter() - started, 6)
    result["timings"]["finished_ms"] = time.time_ns() // 1_000_000
    return result


def _taken(path: Path, wanted: Document, store: Store, name: str, folder: str) -> Document:
    _require_inside(path, name, folder)
    if wanted["kind"] in ("file", "directory"):
        there = path.is_file() if wanted["kind"] == "file" else path.is_dir()
        if not there:
            raise InputError([Problem(name, f"there is no {wanted['kind']} {path}")])
        try:
            return encode_path(File(path) if wanted["kind"] == "file" else Directory(path), store)
        except Unstorable as error:
            raise InputError([Problem(name, str(error))]) from error
    if not path.is_file():
        raise InputError([Problem(name, f"there is no file {path}; write the value there, as JSON")])
    if path.stat().st_size > MOST_JSON_BYTES:
        raise InputError([Problem(name, f"JSON has at most {MOST_JSON_BYTES:,} bytes; declare the output as a File")])
    try:
        plain = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError([Problem(name, f"{path} is not JSON: {error}")]) from None
    return from_plain(plain, wanted, store, name)


def _require_inside(path: Path, name: str, folder: str) -> None:
    """A link could lead to files of the host, or of the container that takes the outputs."""
    if not path.resolve().is_relative_to(Path(folder).resolve() / "out") or path.is_symlink():
        raise InputError([Problem(name, f"{path} is a link; put the file itself there")])


def _json_of(name: str, ref: Document, store: Store) -> Any:
    for inner in _not_json(ref, store):
        raise CodecError(
            f"input {name!r} holds a {inner['type']} inside, which has no place in a JSON file; pass it as an input of "
            "its own, or in a Directory"
        )
    return to_plain(ref, store, math.inf, zones=False)


def _not_json(ref: Document, store: Store) -> Iterator[Document]:
    """The references in a value that JSON cannot hold."""
    if ref["type"] not in ("json", "list"):
        yield ref
        return
    for _, inner in children(ref, store):
        yield from _not_json(inner, store)


# As a program


def main(arguments: list[str]) -> int:
    """0 when it is done, 1 when the step has a result of its own now, 3 when no server answers."""
    if arguments not in (["lay"], ["take"]):
        return _tell("usage: python -m celesta.runtime.exchange lay|take", 2)
    folder, granted = os.environ.get("CELESTA_STEP_FOLDER", FOLDER), Granted()
    try:
        if arguments == ["lay"]:
            return _lay(granted.document, granted.open(), folder)
        started_ms = _wait(granted, folder)
        result = take(granted.document, granted.open(), folder, os.uname().nodename, started_ms)
        create_result(result, granted.open(), f"{prefix_of(granted.document)}outputs.json")
    except CelestaError as error:
        return _tell(error, 3)
    return 0


def _wait(granted: Granted, folder: str) -> int:
    """Until the command has ended, however long that takes; when it was started."""
    # From here on nobody is missed; what may have come before is still there.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.signal(signal.SIGTERM, lambda *_: None)
    Path(folder, "ready").touch()
    started_ms = time.time_ns() // 1_000_000
    while signal.sigtimedwait({signal.SIGTERM}, granted.renew_seconds) is None:
        with contextlib.suppress(CelestaError):  # It is tried again while the token lasts.
            granted.renew()
    return started_ms


def _lay(document: Document, store: Store, folder: str) -> int:
    try:
        lay(document, store, folder)
    except CelestaError as error:
        if error.retryable:
            raise
        result = blank_result(document, os.uname().nodename)
        create_result(result | {"error": error_document(error, kind_of(error))}, store)
        return _tell(error, 1)
    return 0


def _tell(what: object, status: int) -> int:
    sys.stderr.write(f"{what}\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
