"""The package `celesta` as a zip: what a container without it fetches, to run a step with nothing but Python.

Made once in each process, of the files beside this server, so that a step runs the code that launched it.
"""

import io
import zipfile
from functools import lru_cache
from pathlib import Path

import celesta


@lru_cache(maxsize=1)
def runtime_archive() -> bytes:
    """The same bytes for the same code."""
    root = Path(celesta.__file__).parent
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(root.rglob("*.py")):
            # A date of its own keeps the time of day out.
            archive.writestr(zipfile.ZipInfo(path.relative_to(root.parent).as_posix()), path.read_bytes())
    return data.getvalue()
