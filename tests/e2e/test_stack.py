"""The embedded stack as a user meets it: real commands, real processes, real signals."""

import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import redis

from tests.fixtures.processes import free_port, wait_until
from tests.fixtures.stack import CELESTA, Stack

NewStack = Callable[..., Stack]
ROLES = {"supervisor", "broker", "web", "worker", "recorder", "beat"}


def pids(stack: Stack, role: str) -> list[int]:
    return [process["pid"] for process in stack.processes() if process["role"] == role]


def running(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended; one that only waits to be reaped has."""
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def test_up_returns_when_every_role_is_ready(new_stack: NewStack) -> None:
    stack = new_stack("--workers", 1)
    assert {process["role"] for process in stack.processes()} >= ROLES
    assert answers(stack.url)


def test_down_leaves_no_process_and_no_pidfile(new_stack: NewStack) -> None:
    stack = new_stack("--workers", 1)
    before = [psutil.Process(process["pid"]) for process in stack.processes()]
    assert stack.json("down") == {"home": str(stack.home), "stopped": True}
    assert not running(before)
    assert list((stack.home / "run").glob("*.pid")) == []
    assert "celesta up" in stack.cli("status", status=3).stderr
    assert stack.json("up", "--detach", "--port", 0)["url"] == stack.url


def test_a_second_stack_in_the_same_home_is_refused_at_once(new_stack: NewStack) -> None:
    stack = new_stack("--workers", 1)
    refused = stack.cli("up", "--detach", "--port", 0, status=2, timeout=10)
    assert "already runs" in refused.stderr


def test_a_taken_port_is_refused_at_once(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = Stack(home).cli("up", "--detach", "--port", port, status=2, timeout=10)
    assert f"port {port}" in refused.stderr
    assert "--port 0" in refused.stderr
    assert not (home / "run" / "stack.json").exists()


def test_killed_roles_come_back(new_stack: NewStack) -> None:
    stack = new_stack("--workers", 1)
    url = stack.url
    killed = [pids(stack, role)[0] for role in ("web", "worker", "recorder", "beat")]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)

    def back() -> bool:
        now = stack.processes()
        return {p["role"] for p in now} >= ROLES and not {p["pid"] for p in now} & set(killed)

    wait_until(back, what="new processes")
    wait_until(lambda: answers(url), what="an answer at the same address")
    kept_what_it_had(stack)


def kept_what_it_had(stack: Stack) -> None:
    """A killed broker comes back with its data."""
    (broker,) = pids(stack, "broker")
    address = next((stack.home / "run").glob("*.sock"))
    redis.Redis(unix_socket_path=str(address)).set("kept", "yes")
    os.kill(broker, signal.SIGKILL)
    wait_until(lambda: broker not in pids(stack, "broker") and pids(stack, "broker"), what="a new broker")

    def kept() -> bool:
        try:
            return bool(redis.Redis(unix_socket_path=str(address)).get("kept") == b"yes")
        except redis.RedisError:
            return False

    wait_until(kept, what="the value")


def test_nothing_outlives_a_killed_supervisor(new_stack: NewStack) -> None:
    stack = new_stack("--workers", 2)
    processes = [psutil.Process(process["pid"]) for process in stack.processes()]
    os.kill(processes[0].pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(processes, timeout=5)
    assert not alive
    assert "celesta up" in stack.cli("runs", "list", status=3).stderr
    stack.up()


def test_everything_ends_when_the_home_is_deleted(new_stack: NewStack) -> None:
    stack = new_stack("--workers", 1)
    processes = [psutil.Process(process["pid"]) for process in stack.processes()]
    shutil.rmtree(stack.home)
    wait_until(lambda: not running(processes), seconds=60, what="the end of a stack without a home")


@contextmanager
def foreground(home: Path, **environ: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [CELESTA, "up", "--port", "0", "--workers", "1"],
        env=os.environ | {"CELESTA_HOME": str(home)} | environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout
        shown = iter(process.stdout.readline, "")
        assert any("Celesta is ready at http://127.0.0.1:" in line for line in shown)
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_in_the_foreground_ends_cleanly(home: Path, number: signal.Signals) -> None:
    with foreground(home) as process:
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        assert process.wait(timeout=20) == 0
    assert not running(children)


def test_a_folder_with_packages_named_as_ours_does_not_disturb(home: Path, tmp_path: Path) -> None:
    for name in ("app", "workers", "migrations", "templates"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise RuntimeError('the user\\'s own {name} was imported')")
    (tmp_path / "celeryconfig.py").write_text("raise RuntimeError('the user\\'s celeryconfig was imported')")
    stack = Stack(home, {"PYTHONPATH": "."})
    stack.cli("up", "--detach", "--port", 0, cwd=tmp_path)
    try:
        assert answers(stack.url)
        stack.cli("runs", "list", cwd=tmp_path)
    finally:
        stack.cli("down", cwd=tmp_path)


def test_it_idles_under_400_mb(home: Path) -> None:
    stack = Stack(home)
    stack.up("--workers", 2)
    try:
        total = sum(proportional_bytes(process["pid"]) for process in stack.processes())
    finally:
        stack.down()
    assert total < 400e6, f"{total / 1e6:.0f} MB"


def proportional_bytes(pid: int) -> int:
    """The memory of a process, with shared pages divided among those that share them."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def test_the_stack_file_is_readable_whenever_it_is_there(new_stack: NewStack) -> None:
    stack = new_stack("--workers", 1, CELESTA_LEASE_SECONDS="2")
    document = json.loads((stack.home / "run" / "stack.json").read_text())
    assert set(document) == {"url", "pids", "started_at"}
    assert set(document["pids"]) == ROLES


def test_the_port_is_the_one_that_was_asked_for(home: Path) -> None:
    stack, port = Stack(home), free_port()
    stack.cli("up", "--detach", "--port", port)
    try:
        assert stack.url == f"http://127.0.0.1:{port}"
    finally:
        stack.down()
