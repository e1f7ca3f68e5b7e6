import fcntl
import json
import os
from pathlib import Path

import pytest

from celesta.errors import StackError
from celesta.settings import pid_file, running_stack, stack_file, supervisor_pid
from workers.stack import home as home_module
from workers.stack.console import Console
from workers.stack.home import Home


def test_a_home_is_locked_until_it_is_closed(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "new" / "home")
    home.announce("http://here", {"supervisor": os.getpid()}, "now")
    assert supervisor_pid(home.path) == os.getpid()
    assert running_stack(home.path) == json.loads(stack_file(home.path).read_text())
    home.close()
    assert supervisor_pid(home.path) is None
    assert not stack_file(home.path).exists()


def test_a_second_stack_is_refused_at_once(tmp_path: Path) -> None:
    home = Home.open(tmp_path)
    with pytest.raises(StackError, match=f"already runs in {tmp_path} .*{os.getpid()}.*celesta down"):
        Home.open(tmp_path)
    home.close()


def test_a_stale_pidfile_is_put_away(tmp_path: Path) -> None:
    pid_file(tmp_path).parent.mkdir()
    pid_file(tmp_path).write_text("1")  # a living process, but not one of ours: nobody holds the lock
    stack_file(tmp_path).write_text("{}")
    home = Home.open(tmp_path)
    assert pid_file(tmp_path).read_text() == str(os.getpid())
    assert not stack_file(tmp_path).exists()
    home.close()


def test_the_processes_of_a_killed_supervisor_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid_file(tmp_path).parent.mkdir()
    pid_file(tmp_path).write_text("999999999")
    lingering = pid_file(tmp_path).open("r+")
    fcntl.flock(lingering, fcntl.LOCK_EX)
    monkeypatch.setattr("time.sleep", lambda _: lingering.close())
    Home.open(tmp_path).close()


def test_a_home_is_no_longer_ours_once_its_pidfile_is_gone_or_is_anothers(tmp_path: Path) -> None:
    home = Home.open(tmp_path)
    assert home.is_ours
    pid_file(tmp_path).write_text("1")
    assert not home.is_ours
    pid_file(tmp_path).write_text(str(os.getpid()))
    assert home.is_ours
    pid_file(tmp_path).unlink()
    assert not home.is_ours
    pid_file(tmp_path).write_text(str(os.getpid()))  # a new file is not the one that we have locked
    assert not home.is_ours
    home.close()
    assert pid_file(tmp_path).exists()


def test_a_log_that_grows_too_long_begins_anew_under_those_who_write_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home_module, "MAX_LOG_BYTES", 10)
    home = Home.open(tmp_path)
    with home.log("web").open("a", buffering=1) as writer:
        writer.write("0123456789\n")
        home.rotate_logs()
        writer.write("new\n")
        home.rotate_logs()
    assert home.log("web").read_text() == "new\n"
    assert (tmp_path / "logs" / "web.log.1").read_text() == "0123456789\n"
    home.close()


def test_a_home_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackError, match=r"cannot use .*CELESTA_HOME"):
        Home.open(tmp_path / "file" / "home")


def test_a_pidfile_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    pid_file(tmp_path).mkdir(parents=True)
    with pytest.raises(StackError, match=f"cannot use {tmp_path} .*{pid_file(tmp_path)}.*CELESTA_HOME"):
        Home.open(tmp_path)


def test_a_home_that_was_made_for_nothing_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for path in (tmp_path / "new", tmp_path / "there"):
        Home.open(path).close()
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


def test_a_home_keeps_what_is_in_it(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    home.log("web").write_text("a line")
    home.close()
    assert [path.name for path in home.path.rglob("*")] == ["logs", "web.log"]


def test_a_long_home_gets_a_short_socket(tmp_path: Path) -> None:
    home = Home.open(tmp_path / ("long" * 30))
    socket = home.socket()
    assert len(str(socket)) < 100
    home.close()
    assert not socket.parent.exists()


def test_the_console_shows_whole_new_lines_with_their_role(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "web.log"
    log.write_text("before\n")
    console = Console({"web": log, "beat": tmp_path / "beat.log"})
    with log.open("a") as file:
        file.write("one\x1b[2J\nhal")
        file.flush()
        console.pump()
        file.write("f\n")
    console.pump()
    assert capsys.readouterr().out == "web      | one\\x1b[2J\nweb      | half\n"
