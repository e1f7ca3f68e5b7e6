"""The README's tour works as it is written."""

import os
import re
import subprocess
from pathlib import Path

from tests.e2e.conftest import ROOT
from tests.fixtures.home import short_directory
from tests.fixtures.stack import CELESTA


def tour() -> list[str]:
    """Every command of the section, in order."""
    section = re.search(r"^## Five minutes\n(.*?)^## ", (ROOT / "README.md").read_text(), re.S | re.M)
    assert section
    return [line for block in re.findall(r"```sh\n(.*?)```", section[1], re.S) for line in block.splitlines()]


def test_every_command_of_the_tour_succeeds_as_written() -> None:
    commands = tour()
    assert len(commands) >= 10
    with short_directory("celesta-tour-") as home:
        environ = os.environ | {"CELESTA_HOME": str(home), "PATH": f"{Path(CELESTA).parent}:{os.environ['PATH']}"}
        script = "\n".join(["trap 'celesta down >/dev/null 2>&1 || :' EXIT", "set -ex", *commands])
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=ROOT,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=110,
        )
    assert done.returncode == 0, done.stdout + done.stderr
