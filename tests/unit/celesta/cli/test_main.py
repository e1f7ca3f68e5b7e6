import subprocess
import sys
from pathlib import Path

import pytest

from celesta.cli import main
from celesta.cli.main import COMMANDS

HEAVY = (
    "flask",
    "celery",
    "sqlalchemy",
    "redis",
    "app",
    "workers",
    "http.client",
    "psutil",
    "rich.progress",
    "pydantic",
)


@pytest.fixture(autouse=True)
def no_stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CELESTA_HOME", str(tmp_path))


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["runs", "nonsense"], ["runs", "show"], ["up", "--port", "x"], ["up", "--workers", "0"]]
)
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "Error" in told.err


@pytest.mark.parametrize(
    "arguments", [["runs", "list"], ["launch", "w"], ["artifacts", "show", "1"], ["cache", "stats"]]
)
def test_without_a_server_it_is_3_and_both_ways_out_are_named(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 3
    told = capsys.readouterr()
    assert told.out == ""
    assert "celesta up" in told.err
    assert "--local" in told.err


@pytest.mark.parametrize("command", ["status", "down"])
def test_the_stack_that_does_not_run_is_3(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command]) == 3
    assert "celesta up" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["celesta.example", "http://", "http://here:port", "http://[::1", "http://here:99999"])
def test_a_wrong_url_is_2(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CELESTA_URL", url)
    assert main(["runs", "list"]) == 2
    assert "CELESTA_URL: wants the address of a server" in capsys.readouterr().err


@pytest.mark.parametrize("artifact", ["abc", "-1", "../1", "1.5"])
def test_an_artifact_whose_id_is_no_number_is_2(
    artifact: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CELESTA_URL", "http://127.0.0.1:9")
    for verb in ("show", "get", "lineage"):
        assert main(["artifacts", verb, "--", artifact]) == 2
        assert f'there is no artifact "{artifact}": ids of artifacts are numbers' in capsys.readouterr().err


def test_an_empty_id_is_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CELESTA_URL", "http://127.0.0.1:9")
    assert main(["runs", "show", ""]) == 2
    assert "an empty text names nothing" in capsys.readouterr().err


def test_a_home_that_cannot_be_written_is_2_as_for_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("from celesta import task\n\n@task\ndef one() -> int:\n    return 1\n")
    (tmp_path / "file").rename(tmp_path / "one.py")
    home = tmp_path / "one.py" / "home"
    monkeypatch.setenv("CELESTA_HOME", str(home))
    assert main(["run", str(tmp_path / "one.py"), "one", "--local"]) == 2
    assert f"cannot use {home} as home (Not a directory: {home})" in capsys.readouterr().err


def test_the_overview_loads_nothing_heavy() -> None:
    code = f"""
import sys
from celesta.cli import main
main(["--help"])
print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stderr.strip() == "[]"
