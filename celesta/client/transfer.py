"""What a client does that may take long: stream content to a file, bear a server that restarts."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from celesta.errors import ServerUnreachable, StoreError

CHUNK_BYTES = 1 << 20
PATIENCE_SECONDS = 30.0
"""How long a waiting client bears a server that does not answer; a restarted one is back sooner."""

T = TypeVar("T")


def patiently(call: Callable[[], T], patience_seconds: float = PATIENCE_SECONDS) -> T:
    """The answer of a reading call, asked again while no server answers."""
    deadline, pause = time.monotonic() + patience_seconds, 0.1
    while True:
        try:
            return call()
        except ServerUnreachable:
            if time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause = min(2.0, pause * 2)


def save(pieces: Iterable[bytes], target: Path, digest: str | None = None) -> int:
    """Write pieces to `target`, whole or not at all; `StoreError` when they do not have this SHA-256."""
    seen, size = hashlib.sha256(), 0
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for piece in pieces:
                seen.update(piece)
                size += file.write(piece)
        if digest and seen.hexdigest() != digest:
            raise StoreError(f"the content received for {target.name} is not what was stored; fetch it again")
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return size
