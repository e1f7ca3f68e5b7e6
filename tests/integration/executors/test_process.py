"""What only the process executor promises: zygotes live exactly as long as their worker, and no step outlives them."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from celesta.errors import StoreError
from celesta.runtime.processes import descendants, family, kill_all
from tests.fixtures.processes import SOON_SECONDS, wait_until
from workers.executors import lanes, orphans, process
from workers.executors.base import Later
from workers.executors.chosen import ChosenExecutor
from workers.executors.process import ProcessExecutor
from workers.executors.zygote import Zygote

INT = {"kind": "int"}


@dataclass
class Host:
    """A zygote with its executor, and the bench that writes documents for it."""

    zygote: Zygote
    bench: Any

    def bundle_zygotes(self) -> list[int]:
        named = ((pid, Path(f"/proc/{pid}/comm").read_text()) for pid in family().get(self.zygote.pid, []))
        return [pid for pid, name in named if name == "celesta-bundle\n"]


@pytest.fixture
def host(bench: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A zygote of its own: these tests kill it."""
    zygote = Zygote(bench.config)
    monkeypatch.setattr("workers.executors.process.running_zygote", lambda: zygote)
    executor = ProcessExecutor(bench.config)
    yield Host(zygote, replace(bench, executor=executor))
    executor.close()
    zygote.close()


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def start(
    host: Host, tmp_path: Path, function: str = "sleep_for_ever", **more: str
) -> tuple[threading.Thread, list[Any], int]:
    """Submits a step that does not end, in a thread; its pid, once it runs."""
    place = tmp_path / "pid"
    results: list[Any] = []
    document = host.bench.document(function, **(more or {"started": str(place)}))
    document["timeout_seconds"] = None
    thread = threading.Thread(target=lambda: results.append(host.bench.submit(document)))
    thread.start()
    wait_until(lambda: place.exists() and place.read_text(), what="the step's start")
    return thread, results, int(place.read_text())


def test_a_base_server_that_was_killed_is_started_again(host: Host) -> None:
    assert host.bench.value(host.bench.run("add", a=1, b=1)) == 2
    first = host.zygote.pid
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: host.zygote.pid != first, what="another base server")
    assert host.bench.value(host.bench.run("add", a=2, b=2)) == 4


def test_the_step_of_a_killed_bundle_zygote_is_lost_and_the_next_one_runs(host: Host, tmp_path: Path) -> None:
    thread, results, pid = start(host, tmp_path)
    kill_all(host.bundle_zygotes())
    thread.join(10)
    assert (results[0]["error"]["type"], results[0]["error"]["kind"]) == ("Lost", "system")
    wait_until(lambda: is_gone(pid), what="the end of the step")
    assert host.bench.value(host.bench.run("add", a=1, b=1)) == 2


def test_a_zygote_killed_while_idle_costs_the_next_step_nothing(host: Host) -> None:
    assert host.bench.value(host.bench.run("add", a=1, b=1)) == 2
    killed = host.bundle_zygotes()
    kill_all(killed)
    wait_until(lambda: all(map(is_gone, killed)), what="the end of the zygote")
    assert host.bench.value(host.bench.run("add", a=2, b=1)) == 3


def forked_ahead(host: Host) -> list[int]:
    """The children of the one bundle zygote, after enough steps in a row that it forks ahead."""
    (zygote,) = host.bundle_zygotes()
    for number in range(100):
        host.bench.run("add", a=number, b=1)
        children = family().get(zygote, [])
        if len(children) > 2:
            return children
    raise AssertionError("the zygote did not fork ahead")


def test_children_that_wait_end_with_their_zygote(host: Host) -> None:
    host.bench.run("add", a=1, b=1)
    children = forked_ahead(host)
    kill_all(host.bundle_zygotes())
    wait_until(lambda: all(map(is_gone, children)), what="the end of the children")


def test_children_killed_while_they_wait_cost_the_next_steps_nothing(host: Host) -> None:
    host.bench.run("add", a=1, b=1)
    children = forked_ahead(host)
    kill_all(children)
    wait_until(lambda: all(map(is_gone, children)), what="the end of the children")
    assert [host.bench.value(host.bench.run("add", a=number, b=1)) for number in range(8)] == list(range(1, 9))


def test_a_step_holds_no_socket_but_its_own(host: Host) -> None:
    host.bench.run("add", a=1, b=1)
    forked_ahead(host)
    held = [host.bench.value(host.bench.run("sockets")) for _ in range(8)]
    assert [len(names) for names in held] == [1] * 8
    assert len({name for names in held for name in names}) == 8


def test_all_below_ends_with_the_base_server_also_daemons(host: Host, tmp_path: Path) -> None:
    thread, _, pid = start(host, tmp_path, "leave_a_daemon", pids=str(tmp_path / "pid"), then="sleep")
    below = descendants(host.zygote.pid)
    assert pid in below
    host.zygote.close()
    wait_until(lambda: all(map(is_gone, below)), what="the end of all below")
    thread.join(10)
    assert list((host.bench.config.home / "scratch").glob(f"{host.zygote.pid}/*")) == []


def test_a_killed_worker_takes_its_zygote_and_steps_along(bench: Any, tmp_path: Path) -> None:
    document = bench.document("leave_a_daemon", pids=str(tmp_path / "pid"), then="sleep")
    worker = os.fork()
    if worker == 0:
        try:
            ProcessExecutor(bench.config).submit(document)
        finally:
            os._exit(1)
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), what="the step's start")
    below = descendants(worker)
    assert int((tmp_path / "pid").read_text()) in below
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    wait_until(lambda: all(map(is_gone, below)), what="the end of all below the worker")


def test_the_steps_of_a_killed_client_end_while_the_zygote_lives(host: Host, tmp_path: Path) -> None:
    document = host.bench.document("sleep_for_ever", started=str(tmp_path / "pid"))
    client = os.fork()
    if client == 0:
        try:
            host.bench.executor.submit(document)
        finally:
            os._exit(1)
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), what="the step's start")
    pid = int((tmp_path / "pid").read_text())
    os.kill(client, signal.SIGKILL)
    os.waitpid(client, 0)
    wait_until(lambda: is_gone(pid), what="the end of the client's step")
    assert host.bench.value(host.bench.run("add", a=1, b=1)) == 2
    assert host.bench.kept(document, "result.json") is None


def test_orphans_of_a_dead_worker_are_found_by_their_mark() -> None:
    # In a namespace of the test's own: any other worker that starts on this host at this moment ends orphans as well.
    own = orphans.Mark.of(os.getpid(), 2)._replace(namespace=os.getpid())
    dead = own._replace(owner=os.getpid(), since=own.since - 1)
    marks = {"orphan": dead, "elsewhere": dead._replace(namespace=1), "mine": own}
    pids = {name: marked_sleep(mark) for name, mark in marks.items()}
    try:
        assert set(orphans.end_orphans(own)) & set(pids.values()) == {pids["orphan"]}
        wait_until(lambda: is_gone(pids["orphan"]), what="the end of the orphan")
        assert pids["mine"] in orphans.end_orphans(own._replace(incarnation=3), before=own)
        assert not is_gone(pids["elsewhere"])
    finally:
        kill_all(pids.values())
        for pid in pids.values():
            os.waitpid(pid, 0)


def marked_sleep(mark: orphans.Mark) -> int:
    """The pid of a program that carries the mark."""
    pid = os.posix_spawnp("sleep", ["sleep", "600"], {**os.environ, orphans.VARIABLE: str(mark)})
    wait_until(lambda: str(mark).encode() in Path(f"/proc/{pid}/environ").read_bytes(), what="the start of a program")
    return pid


def test_a_lane_that_was_long_unused_is_not_trusted(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = host.bench.document("add", a=1, b=1)["bundle"]
    host.bench.run("add", bundle=bundle, a=1, b=1)
    (idle,) = [lane for kept in host.bench.executor._lanes.values() for lane in kept]
    monkeypatch.setattr(lanes, "TRUST_SECONDS", 0.0)
    host.bench.run("add", bundle=bundle, a=1, b=1)
    assert idle._channel.fileno() == -1
    assert len(host.bundle_zygotes()) == 1


def test_steps_of_one_bundle_share_a_zygote_and_other_environments_have_their_own(host: Host) -> None:
    for variable in ("one", "one", "two"):
        document = host.bench.document("environment")
        document["env"] = {"NASTY": variable}
        assert host.bench.value(host.bench.submit(document))[0] == variable
    assert len(host.bundle_zygotes()) == 2


def test_an_import_that_hangs_is_a_timeout(host: Host) -> None:
    document = host.bench.document("hanging:f", bundle=host.bench.bundle(hanging="import time\ntime.sleep(600)\n"))
    document["timeout_seconds"] = 0.5
    started = time.monotonic()
    error = host.bench.error(host.bench.submit(document))
    assert error["kind"] == "timeout"
    assert "import" in error["message"]
    assert time.monotonic() - started < SOON_SECONDS


def test_an_executor_made_before_a_fork_works_in_the_parent_and_in_the_child(host: Host) -> None:
    assert host.bench.value(host.bench.run("add", a=1, b=1)) == 2
    document = host.bench.document("add", a=2, b=2)
    child = os.fork()
    if child == 0:
        os._exit(0 if host.bench.submit(document)["status"] == "succeeded" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert host.bench.value(host.bench.run("add", a=1, b=1)) == 2


def test_a_mistake_of_an_executor_fails_the_attempt_at_once_in_its_own_words(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: lanes.Lane, *_: object) -> None:
        raise RuntimeError("no lane to be had")

    bench = replace(host.bench, executor=ChosenExecutor(host.bench.config))
    monkeypatch.setattr(lanes.Lane, "take", broken)
    error = bench.error(bench.run("add", a=1, b=1))
    assert (error["type"], error["message"], error["kind"]) == ("RuntimeError", "no lane to be had", "system")
    monkeypatch.undo()
    assert bench.value(bench.run("add", a=1, b=1)) == 2
    bench.executor.close()


# Parts of the host


def test_a_step_that_asks_for_more_than_the_worker_has_is_told_so_at_its_start(host: Host) -> None:
    document = host.bench.document("add", a=1, b=1) | {"resources": {"cpu": 5.0, "memory_bytes": None}}
    error = host.bench.error(host.bench.submit(document))
    assert error["kind"] == "user"
    assert "resources.cpu: the step asks for 5, and its worker has 4 slots" in error["message"]


def test_a_step_that_needs_all_slots_waits_for_them_and_says_why(host: Host, tmp_path: Path) -> None:
    thread, _, pid = start(host, tmp_path)
    document = host.bench.document("add", a=1, b=1) | {"resources": {"cpu": 4.0, "memory_bytes": 2**20}}
    results: list[Any] = []
    logged = host.bench.logged
    host.bench.executor.on_log = lambda *piece: logged.append(piece)
    waits = threading.Thread(target=lambda: results.append(host.bench.submit(document)))
    waits.start()
    wait_until(lambda: logged, what="a word on why it waits")
    assert logged[-1][3] == b"waiting for 4 cpu and 1 MiB: 1 cpu of 4 cpu and 1,024 MiB are taken\n"
    assert not results
    os.kill(pid, signal.SIGKILL)
    thread.join()
    waits.join()
    assert host.bench.value(results[0]) == 2
    assert host.bench.kept(document, "log.txt").startswith(b"waiting for 4 cpu")


def test_a_step_that_waits_for_slots_can_be_cancelled(host: Host, tmp_path: Path) -> None:
    thread, _, pid = start(host, tmp_path)
    document = host.bench.document("add", a=1, b=1) | {"resources": {"cpu": 4.0, "memory_bytes": None}}
    results: list[Any] = []
    waits = threading.Thread(target=lambda: results.append(host.bench.executor.submit(document)))
    waits.start()
    wait_until(lambda: host.bench.executor.cancel("run1", document["node"], "1.1"), what="the attempt")
    waits.join()
    assert host.bench.error(results[0])["type"] == "Cancelled"
    os.kill(pid, signal.SIGKILL)
    thread.join()
    assert host.bench.value(host.bench.submit({**document, "token": "1.2", "attempt": 2})) == 2


def test_a_plain_step_does_not_wait_long_where_a_big_one_has_all_slots(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "GIVE_BACK_AFTER_SECONDS", 0.0)
    place = tmp_path / "pid"
    document = host.bench.document("sleep_for_ever", started=str(place)) | {"resources": {"cpu": 4.0}}
    thread = threading.Thread(target=host.bench.submit, args=[document])
    thread.start()
    wait_until(lambda: place.exists() and place.read_text(), what="the step's start")
    with pytest.raises(Later, match="all slots"):
        host.bench.run("add", a=1, b=1)
    os.kill(int(place.read_text()), signal.SIGKILL)
    thread.join()
    assert host.bench.value(host.bench.run("add", a=1, b=1)) == 2


# Checkpoints


@pytest.fixture
def elsewhere(host: Host, tmp_path: Path) -> Iterator[Any]:
    """The bench of another host, which has the store in common with the first one and nothing else."""
    config = replace(host.bench.config, home=tmp_path / "elsewhere")
    config.home.mkdir()
    zygote = Zygote(config)
    executor = ProcessExecutor(config)
    executor._zygote = lambda: zygote  # type: ignore[method-assign]
    yield replace(host.bench, executor=executor, config=config)
    executor.close()
    zygote.close()


def attempt(document: dict[str, Any], number: int) -> dict[str, Any]:
    return {**document, "token": f"1.{number}", "attempt": number}


def test_a_checkpoint_follows_its_step_to_another_host_and_back(host: Host, elsewhere: Any) -> None:
    document = host.bench.document("count_attempts", returns=INT, until=4)
    for bench, number in ((host.bench, 1), (elsewhere, 2), (host.bench, 3)):
        assert bench.error(bench.submit(attempt(document, number)))["message"] == f"attempt {number}"
    assert elsewhere.value(elsewhere.submit(attempt(document, 4))) == 4
    assert not [key for key in host.bench.store.list("runs/") if key.endswith("checkpoint.tar")]


def test_the_checkpoint_of_a_killed_step_is_kept_too(host: Host, elsewhere: Any, tmp_path: Path) -> None:
    document = host.bench.document("keep_and_sleep", place=str(tmp_path / "pid"))
    thread = threading.Thread(target=host.bench.submit, args=[document])
    thread.start()
    wait_until(lambda: (tmp_path / "pid").exists(), what="the step's checkpoint")
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    thread.join()
    assert elsewhere.value(elsewhere.submit(attempt(document, 2))) == "kept"


def test_a_checkpoint_that_cannot_be_kept_costs_no_result(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise StoreError("the store is full")

    monkeypatch.setattr(type(host.bench.executor._store), "put_file", full)
    document = host.bench.document("count_attempts", until=2)
    assert host.bench.error(host.bench.submit(document))["message"] == "attempt 1"
    assert "the store is full" in caplog.text
