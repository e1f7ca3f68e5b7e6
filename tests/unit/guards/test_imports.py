"""The contracts of ``setup.cfg`` between the rooms hold."""

import subprocess
import sys

CHECK = "from importlinter import cli; raise SystemExit(cli.lint_imports(config_filename='setup.cfg', no_cache=True))"


def test_the_rooms_import_one_another_in_one_direction_only() -> None:
    """In a process of its own: the linter turns off every logger that there is, and later tests read logs."""
    done = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
