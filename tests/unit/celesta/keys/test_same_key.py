"""The same work has the same key: in every process, in every version of Python, however it is called.

The keys are golden: what is in every cache already. A change here makes every cache miss: raise
`celesta.source.VERSION` or `celesta.hashing.KEY_VERSION` with it, and say so in the changelog.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

KeysIn = Callable[..., dict[str, str]]
HERE = Path(__file__).parent
ROOT = HERE.parents[3]
LOAD = "e794bfb86d829c8ef381d6945ea3afdcbe26ce97140f4e6731bfea2cbd4c7b13"
TRAIN = "bd3f572143c233a81d658dead0a1f0c3ee199d38ef753260148b55544f150926"
GOLDEN = {
    "load": LOAD,
    "load#2": LOAD,
    "train": TRAIN,
    "train#2": TRAIN,
    "train#3": "5ad165b0b226cbf499f23e99303d73d8e011f85d7bb2b648cf8973555522f214",
    "train#4": "9a857860c3cc48b15fa83fedc17924f08c8887389f435386f864427b89f24900",
}


@pytest.fixture
def keys_in(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """The keys as another process finds them, in a checkout of its own; an interpreter without packages is enough."""

    def run(python: str = sys.executable, at: str = "checkout", **environ: str) -> dict[str, str]:
        folder = tmp_path / at
        folder.mkdir(parents=True)
        for name in ("flow_of_keys.py", "print_keys.py"):
            shutil.copy(HERE / name, folder / name)
        told = {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"} | environ
        done = subprocess.run(
            [python, str(folder / "print_keys.py")],
            cwd=folder, env=os.environ | told, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        found: dict[str, str] = json.loads(done.stdout)
        return found

    return run


def test_keys_are_those_of_every_cache_that_there_is_wherever_the_checkout_lies(keys_in: KeysIn) -> None:
    assert keys_in() == keys_in(at="else/where ü") == GOLDEN


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_the_order_in_which_a_process_hashes_does_not_matter(keys_in: KeysIn, seed: str) -> None:
    assert keys_in(PYTHONHASHSEED=seed) == GOLDEN


@pytest.mark.parametrize("environ", [{"LC_ALL": "C", "PYTHONUTF8": "0"}, {"TZ": "Asia/Tokyo"}, {"PYTHONOPTIMIZE": "2"}])
def test_language_time_zone_and_optimisation_do_not_matter(keys_in: KeysIn, environ: dict[str, str]) -> None:
    assert keys_in(**environ) == GOLDEN


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_every_version_of_python_finds_the_same_keys(keys_in: KeysIn, version: str) -> None:
    python = shutil.which(f"python{version}")
    environ = {"PYENV_VERSION": version}  # lets a manager of several versions choose; others do not look at it
    if python is None or subprocess.run([python, "-c", ""], env=os.environ | environ, capture_output=True).returncode:
        pytest.skip(f"Python {version} is not installed here")
    assert keys_in(python, **environ) == GOLDEN


def test_positional_named_and_defaulted_calls_have_one_key_and_an_ignored_input_has_no_part_in_it() -> None:
    assert GOLDEN["train"] == GOLDEN["train#2"]
    assert GOLDEN["load"] == GOLDEN["load#2"]
    assert len(set(GOLDEN.values())) == 4
