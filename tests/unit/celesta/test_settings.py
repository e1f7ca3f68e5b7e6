import fcntl
import json
import os
from pathlib import Path

import pytest

from celesta.errors import ConfigError, ServerUnreachable
from celesta.settings import Settings, pid_file, running_stack, server_command, stack_file


def settings(**environ: str) -> Settings:
    return Settings.from_env({"CELESTA_HOME": "/nowhere", **environ})


def test_the_home_is_below_the_users_home_by_default() -> None:
    assert Settings.from_env({}).home == Path.home() / ".celesta"


def test_an_empty_variable_counts_as_not_given() -> None:
    assert settings(CELESTA_URL=" ", CELESTA_TOKEN="", CELESTA_PROJECT="") == settings()


def test_a_url_loses_its_last_slash() -> None:
    assert settings(CELESTA_URL="https://celesta.example/").server_url() == "https://celesta.example"


@pytest.mark.parametrize("url", ["celesta.example:80", "ftp://celesta.example", "http://"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="CELESTA_URL"):
        settings(CELESTA_URL=url)


def test_without_a_stack_the_error_names_both_ways_out() -> None:
    with pytest.raises(ServerUnreachable, match=r"celesta up.*--local"):
        settings().server_url()


@pytest.fixture
def announced(tmp_path: Path) -> Path:
    stack_file(tmp_path).parent.mkdir()
    stack_file(tmp_path).write_text(json.dumps({"url": "http://127.0.0.1:1", "pids": {}, "started_at": "now"}))
    pid_file(tmp_path).write_text(str(os.getpid()))
    return tmp_path


def test_a_stack_runs_while_its_supervisor_holds_the_lock(announced: Path) -> None:
    with pid_file(announced).open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert Settings(announced).server_url() == "http://127.0.0.1:1"


def test_a_file_that_a_killed_stack_left_says_nothing(announced: Path) -> None:
    assert running_stack(announced) is None


def test_server_processes_do_not_see_the_folder_they_are_started_in() -> None:
    assert "-I" in server_command("workers.server", "web")
