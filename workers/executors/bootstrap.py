"""The first thing that runs in the containers of a step; sent as text (`python3 -c`), so it is all in this file.

`FOLDER` gets `runtime/celesta`: the package of this image, where it has one, else that of the server. For a container
task (`lay`) the inputs are laid then. Needs Python 3.11 and nothing else.
"""

import importlib.util
import io
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

ATTEMPTS = 6


def fetch(url: str, token: str) -> bytes:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    for left in range(ATTEMPTS - 1, -1, -1):
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return bytes(answer.read())
        except (OSError, urllib.error.URLError) as error:
            refused = isinstance(error, urllib.error.HTTPError) and error.code in (401, 403)
            if refused or not left:
                raise SystemExit(f"the runtime cannot be fetched from {url}: {error}") from error
            time.sleep(2.0)
    raise AssertionError("the last try returns or ends the program")


def main(folder: str, lay: bool) -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - this text is what finds out
        raise SystemExit(f"this image has Python {sys.version.split()[0]}; a step needs 3.11 or newer")
    runtime = Path(folder, "runtime")
    for name in ("runtime", "in", "out", "home", "work"):
        place = Path(folder, name)
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o777)  # The step may run as another user.
    found = importlib.util.find_spec("celesta")
    if found is not None and found.origin:
        kept_out = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path(found.origin).parent, runtime / "celesta", dirs_exist_ok=True, ignore=kept_out)
    else:
        data = fetch(os.environ["CELESTA_STEP_URL"] + "/api/v1/step/runtime", os.environ["CELESTA_STEP_TOKEN"])
        zipfile.ZipFile(io.BytesIO(data)).extractall(runtime)
    if lay:
        os.environ["PYTHONPATH"] = str(runtime)
        os.execv(sys.executable, [sys.executable, "-P", "-m", "celesta.runtime.exchange", "lay"])  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:] == ["lay"])
