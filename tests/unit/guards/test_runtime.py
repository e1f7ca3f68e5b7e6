"""What runs inside every step starts with the standard library only."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["__main__", "enter", "step", "context"])
def test_the_runtime_starts_with_the_standard_library_only(module: str) -> None:
    code = f"import sys; before = {{*sys.modules}}; import celesta.runtime.{module}; print(*{{*sys.modules}} - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded - sys.stdlib_module_names == {"celesta"}
