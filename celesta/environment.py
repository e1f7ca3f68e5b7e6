"""The environment that code runs in: recorded with versions and with steps, and a part of cache keys when asked for.

A step with an image runs in that image, whose digest says all. Others run in the interpreter and packages of the
process that asks here: a local run, or a worker whose step processes are forked from it. What is recorded is the
*lock*, once for each environment, as a blob whose digest stands for it everywhere else.
"""

import contextlib
import functools
import platform
import sys
import time
from pathlib import Path
from typing import Any

from celesta.hashing import canonical, document_digest
from celesta.store.base import KEPT_SECONDS, Store

_FORMS = (".dist-info", ".egg-info")
_kept_at: dict[str, float] = {}
"""When the lock was last put into a store, by the address of the store."""


@functools.cache
def environment_digest() -> str:
    """The digest of the lock; worked out once per process."""
    return document_digest(environment_lock())


@functools.cache
def environment_lock() -> dict[str, Any]:
    """Python, platform and the version of each installed package, for people to repeat it.

    Read from the names of the packages' folders, which takes a millisecond where reading their metadata takes fifty:
    every `celesta run` records it.
    """
    packages: dict[str, str] = {}
    for folder in map(Path, dict.fromkeys(sys.path)):
        for found in _installed(folder) if folder.is_dir() else ():
            name, _, version = found.stem.partition("-")
            if version:
                packages.setdefault(name.lower().replace("_", "-"), version)
    return {"python": platform.python_version(), "platform": _platform(), "packages": dict(sorted(packages.items()))}


def record_environment(store: Store) -> str:
    """The digest of this environment, whose lock is in the store under it. Costs nothing but once in a while."""
    if time.monotonic() - _kept_at.get(store.url, float("-inf")) > KEPT_SECONDS / 2:
        store.put_blob(canonical(environment_lock()))
        _kept_at[store.url] = time.monotonic()
    return environment_digest()


def _installed(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return sorted(found for found in folder.iterdir() if found.suffix in _FORMS)
    return []


def _platform() -> str:
    return f"{sys.platform}-{platform.machine()}"
