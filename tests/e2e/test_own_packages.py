"""A user's project with packages named like ours works, run from inside its folder."""

from pathlib import Path

from tests.fixtures.stack import Stack

PIPELINE = """\
from celesta import task, workflow
from app import settings
from workers.helpers import twice


@task(cache=True)
def compute(number: int) -> int:
    return twice(number) + settings.PLUS


@workflow
def own(number: int = 20) -> int:
    return compute(number=number)
"""


def test_packages_named_app_and_workers_of_the_user_are_used_by_the_users_code(
    stack: Stack, project: str, tmp_path: Path
) -> None:
    for package, module, text in (
        ("app", "settings", "PLUS = 2\n"),
        ("workers", "helpers", "def twice(number):\n    return 2 * number\n"),
    ):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
        (tmp_path / package / f"{module}.py").write_text(text)
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "pipeline.py").write_text(PIPELINE)

    local = stack.json("run", "pipeline.py", "own", "--local", cwd=tmp_path)
    run = stack.json("run", "pipeline.py", "own", "--project", project, cwd=tmp_path)
    assert local["outputs"] == run["outputs"] == {"result": 42}
