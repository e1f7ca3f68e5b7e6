"""What users import is a promise, and importing it is cheap."""

import subprocess
import sys

import pytest

import celesta

PUBLIC = ["Cache", "Directory", "File", "Resources", "Retry", "current", "launch", "task", "unmapped", "workflow"]


def test_the_exported_names_are_these() -> None:
    """Taking one away breaks users; adding one is for ever."""
    assert sorted(celesta.__all__) == PUBLIC
    assert [name for name in PUBLIC if not hasattr(celesta, name)] == []


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after ``statement``, without those of the library."""
    code = f"{statement}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    before = subprocess.run([sys.executable, "-c", "import sys; print(*sys.modules)"], capture_output=True, text=True)
    return set(done.stdout.split()) - set(before.stdout.split()) - sys.stdlib_module_names - {"celesta"}


@pytest.mark.parametrize(
    "statement",
    [
        "import celesta",
        "from celesta import task, workflow, current, File",
        "import celesta.runtime.__main__",
        "import celesta.runtime.enter",
        "import celesta.runtime.step",
    ],
)
def test_the_sdk_and_the_runtime_start_with_the_standard_library_only(statement: str) -> None:
    assert loaded_by(statement) == set()


def test_a_workflow_file_does_not_load_a_server(home: object) -> None:
    code = "import sys; sys.path.insert(0, 'examples'); import quickstart"
    assert loaded_by(code).isdisjoint({"flask", "celery", "kombu", "sqlalchemy", "redis", "boto3"})
