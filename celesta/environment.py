"""The environment that code runs in: recorded with a version by the SDK, and a digest for tasks that are cached by it.

A step with an image runs in that image, whose digest says all. Others run in the interpreter and packages of the
process that asks here: a local run, or a worker whose step processes are forked from it.
"""

import functools
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from celesta.hashing import document_digest


@functools.cache
def environment_digest() -> str:
    """The digest of Python's version, the platform, and every installed package; worked out once per process."""
    packages = sorted({(found.name.lower(), found.version) for found in metadata.distributions() if found.name})
    return document_digest({"python": platform.python_version(), "platform": _platform(), "packages": packages})


@functools.cache
def environment_lock() -> dict[str, Any]:
    """Python, platform and the version of each installed package, for people to repeat it.

    Read from the names of the packages' folders, which takes a millisecond where reading their metadata takes fifty:
    every `celesta run` records it.
    """
    packages: dict[str, str] = {}
    for folder in map(Path, dict.fromkeys(sys.path)):
        for found in folder.glob("*.dist-info") if folder.is_dir() else ():
            name, _, version = found.name.removesuffix(".dist-info").partition("-")
            packages.setdefault(name.lower().replace("_", "-"), version)
    return {"python": platform.python_version(), "platform": _platform(), "packages": dict(sorted(packages.items()))}


def _platform() -> str:
    return f"{sys.platform}-{platform.machine()}"
