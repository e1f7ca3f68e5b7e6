"""What a step process imports: the standard library, and all of it before it forks."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import sys, json
before = set(sys.modules)
{statements}
added = {{name.partition(".")[0] for name in set(sys.modules) - before}} - sys.stdlib_module_names
print(json.dumps(sorted(added)))
"""


def added_by(statements: str) -> list[str]:
    """Top-level packages outside the standard library that these statements import in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(statements=statements)], capture_output=True, check=True
    )
    return list(json.loads(done.stdout))


@pytest.mark.parametrize(
    "module",
    ["celesta.runtime.step", "celesta.runtime.__main__", "celesta.runtime.zygote.base", "celesta.runtime.call"],
)
def test_the_runtime_imports_the_standard_library_only(module: str) -> None:
    assert added_by(f"import {module}") == ["celesta"]


def test_what_the_zygote_preloads_is_the_standard_library_only() -> None:
    statements = (
        "import importlib, celesta.runtime.zygote.base as base\n"
        "for name in base.PRELOADED: importlib.import_module(name)"
    )
    assert added_by(statements) == ["celesta"]


def test_the_zygote_loads_nothing_that_burdens_each_fork() -> None:
    statements = (
        "import importlib, celesta.runtime.zygote.base as base\n"
        "for name in base.PRELOADED: importlib.import_module(name)\n"
        "burden = {'threading', 'logging', 'random', 'asyncio', 'http', 'ssl'} & set(sys.modules)\n"
        "assert not burden, burden"
    )
    assert added_by(statements) == ["celesta"]


def test_a_plain_step_imports_nothing_after_the_zygote_is_warm() -> None:
    statements = (
        "import importlib, celesta.runtime.zygote.base as base\n"
        "from celesta.runtime.zygote.rehearsal import warm_up\n"
        "for name in base.PRELOADED: importlib.import_module(name)\n"
        "before = set(sys.modules)\nwarm_up()\nassert set(sys.modules) == before, set(sys.modules) - before"
    )
    assert added_by(statements) == []
