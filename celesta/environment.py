"""The environment that a step runs in, as a digest: for tasks that are cached by it.

A step with an image runs in that image, whose digest says all. Others run in the interpreter and packages of the
process that asks here: a local run, or a worker whose step processes are forked from it.
"""

import functools
import platform
import sys
from importlib import metadata

from celesta.hashing import document_digest


@functools.cache
def environment_digest() -> str:
    """The digest of Python's version, the platform, and every installed package; worked out once per process."""
    packages = sorted({(found.name.lower(), found.version) for found in metadata.distributions() if found.name})
    return document_digest(
        {"python": platform.python_version(), "platform": f"{sys.platform}-{platform.machine()}", "packages": packages}
    )
