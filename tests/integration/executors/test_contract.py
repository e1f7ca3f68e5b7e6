"""The step contract, for every executor: what a step gets, what it leaves, and that no step can hurt another."""

import json
import platform
import threading
import time
from pathlib import Path
from typing import Any

import numpy
import pytest

from celesta.codecs import decode
from tests.fixtures.processes import SOON_SECONDS, wait_until

NASTY = Path(__file__).with_name("nasty.py").read_text()
INT = {"kind": "int"}
STR = {"kind": "str"}


def is_gone(pid: int) -> bool:
    """Whether no process, or only its zombie, has this id."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_for_pid(place: Path) -> int:
    """The process id that a step writes when it has come as far as it wants."""
    wait_until(lambda: place.exists() and place.read_text(), what="the step's start")
    return int(place.read_text())


# What a step gets and gives


def test_the_result_is_durable_and_says_what_went_in_and_came_out(bench: Any) -> None:
    document = bench.document("add", returns=INT, a=1, b=2)
    result = bench.submit(document)
    assert bench.value(result) == 3
    assert result["input_digests"] == {name: ref["digest"] for name, ref in document["inputs"].items()}
    assert {key: result[key] for key in ("run", "path", "node", "token")} == {
        key: document[key] for key in ("run", "path", "node", "token")
    }
    assert result["timings"]["started_ms"] <= result["timings"]["finished_ms"] <= time.time() * 1000
    assert bench.kept(document, "log.txt") is None


def test_the_packages_that_it_ran_with_are_in_the_store_under_the_digest_that_the_result_names(bench: Any) -> None:
    result = bench.run("add", returns=INT, a=1, b=2)
    lock = json.loads(bench.store.get_blob(result["environment"]))
    assert lock["python"] == platform.python_version()
    assert lock["packages"]["numpy"] == numpy.__version__


def test_each_field_of_a_named_tuple_is_an_output(bench: Any) -> None:
    result = bench.run("pair", returns={"total": INT, "label": STR})
    assert {name: ref["inline"] for name, ref in result["outputs"].items()} == {"total": 3, "label": "three"}


def test_an_async_function_is_awaited(bench: Any) -> None:
    assert bench.value(bench.run("later")).startswith("later[")


def test_a_step_without_outputs_returns_nothing(bench: Any) -> None:
    assert bench.run("nothing", returns=None)["outputs"] == {}


def test_a_file_is_stored_and_received_read_only_beside_the_empty_scratch_directory(bench: Any) -> None:
    written = bench.run("write_file")
    file = decode(written["outputs"]["result"], {"kind": "any"}, bench.store, bench.config.home / "received")
    assert bench.value(bench.run("read_file", file=file)) == ["weights", [], True]


def test_metrics_report_and_log_are_kept(bench: Any) -> None:
    document = bench.document("speak")
    result = bench.submit(document)
    run = document["run"]
    assert bench.value(result) == [run, document["path"], "1", f"{run}/speak", run]
    assert [(m["name"], m["value"], m["step"]) for m in result["metrics"]] == [("loss", 0.5, 1)]
    assert result["report"] is True
    assert bench.kept(document, "report.html") == b"<h1>fine</h1>"
    log = bench.kept(document, "log.txt")
    assert b"a line of text\n" in log
    assert b"loss = nan" in log


def test_the_environment_is_there_before_the_modules_are_imported(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELESTA_SECRET_KEY", "not for steps")
    document = bench.document("environment")
    document["env"] = {"NASTY": "$(CELESTA_RUN_ID) for $$5"}
    seen = bench.value(bench.submit(document))
    assert seen[0] == "$(CELESTA_RUN_ID) for $$5"
    assert {"CELESTA_RUN_ID", "CELESTA_STEP_PATH"} <= set(seen)
    assert not {"CELESTA_SECRET_KEY", "PYTHONSAFEPATH"} & set(seen)
    assert bench.value(bench.run("environment"))[0] is None


def test_a_checkpoint_is_there_for_the_next_attempt(bench: Any) -> None:
    document = bench.document("go_on")
    assert bench.error(bench.submit(document))["message"] == "evicted"
    assert bench.value(bench.submit({**document, "token": "1.2", "attempt": 2})) == 41
    assert bench.error(bench.submit({**document, "token": "1.3", "attempt": 3}))["message"] == "evicted"


@pytest.mark.parametrize("files", [{"app/__init__.py": ""}, {}], ids=["package", "namespace package"])
def test_a_project_may_have_packages_named_like_ours(bench: Any, files: dict[str, str]) -> None:
    source = "import app.models, workers\ndef f(): return [app.models.X, workers.Y]"
    bundle = bench.bundle({**files, "app/models.py": "X = 1"}, mine=source, workers="Y = 2")
    assert bench.value(bench.run("mine:f", bundle=bundle)) == [1, 2]


# What goes wrong is the step's result


def test_an_exception_is_shown_with_the_users_frames_only(bench: Any) -> None:
    error = bench.error(bench.run("fail"))
    assert (error["type"], error["message"], error["kind"]) == ("ValueError", "the shoe is too small", "user")
    lines = error["traceback"].splitlines()
    assert lines[1].startswith('  File "nasty.py", line ')
    assert lines[1].endswith("in fail")
    assert "celesta" not in error["traceback"]


@pytest.mark.parametrize(
    ("function", "returns", "words"),
    [
        ("text", INT, 'output "result"'),
        ("generator", {"kind": "any"}, 'output "result"'),
        ("text", {"total": INT, "label": STR}, "declares the outputs total, label"),
        ("text", None, "declares no output"),
    ],
)
def test_an_output_that_cannot_be_stored_is_a_user_error_that_names_it(
    bench: Any, function: str, returns: Any, words: str
) -> None:
    error = bench.error(bench.run(function, returns=returns))
    assert error["kind"] == "user"
    assert words in error["message"]


def test_an_import_error_is_the_steps_own_with_its_traceback(bench: Any) -> None:
    bundle = bench.bundle(broken="print('importing')\nimport no_such_module\n")
    document = bench.document("broken:f", bundle=bundle)
    error = bench.error(bench.submit(document))
    assert (error["type"], error["kind"]) == ("ModuleNotFoundError", "user")
    assert 'File "broken.py", line 2' in error["traceback"]
    assert bench.kept(document, "log.txt") == b"importing\n"


def test_a_syntax_error_shows_its_line(bench: Any) -> None:
    error = bench.error(bench.run("broken:f", bundle=bench.bundle(broken="def f(:\n")))
    assert error["type"] == "SyntaxError"
    assert "def f(:" in error["traceback"]


def test_a_function_that_is_not_there_is_named(bench: Any) -> None:
    error = bench.error(bench.run("no_such_function"))
    assert error["kind"] == "user"
    assert "'no_such_function'" in error["message"]


@pytest.mark.parametrize(
    ("function", "kind", "words"),
    [
        ("leave_by_exit", "user", "sys.exit(3)"),
        ("leave_at_once", "user", "status 3"),
        ("segfault", "user", "SIGSEGV"),
        ("abort", "user", "SIGABRT"),
        ("kill_myself", "system", "SIGKILL"),
        ("interrupt", "user", ""),
        ("run_out_of_memory", "out_of_memory", "out of memory"),
        ("exhaust_the_stack", "user", "recursion"),
    ],
)
def test_every_way_to_die_has_its_kind_and_the_next_step_runs(bench: Any, function: str, kind: str, words: str) -> None:
    error = bench.error(bench.run(function))
    assert error["kind"] == kind
    assert words in error["message"]
    assert bench.value(bench.run("add", a=1, b=1)) == 2


def test_a_crash_shows_where_it_was(bench: Any) -> None:
    assert "in segfault" in bench.error(bench.run("segfault"))["traceback"]


def test_a_missing_bundle_is_a_system_error(bench: Any) -> None:
    error = bench.error(bench.run("add", bundle="0" * 64))
    assert error["kind"] == "system"
    assert "0" * 64 in error["message"]


def test_the_first_result_of_an_attempt_stands(bench: Any) -> None:
    document = bench.document("where")
    assert bench.submit(document) == bench.submit(document)


def test_a_module_that_crashes_on_import_fails_its_steps_only(bench: Any) -> None:
    bundle = bench.bundle(deadly="import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    error = bench.error(bench.run("deadly:f", bundle=bundle))
    assert (error["type"], error["kind"]) == ("Crashed", "user"), error["message"]
    assert bench.value(bench.run("add", a=1, b=1)) == 2


def test_a_module_that_starts_threads_on_import_has_them_in_each_step(bench: Any) -> None:
    source = (
        "import queue, threading\nasked, told = queue.Queue(), queue.Queue()\n"
        "threading.Thread(target=lambda: told.put(asked.get()), daemon=True).start()\n"
        "def f():\n    asked.put(7)\n    return told.get(timeout=5)\n"
    )
    bundle = bench.bundle(threaded=source)
    assert [bench.value(bench.run("threaded:f", bundle=bundle)) for _ in range(2)] == [7, 7]


# Logs


def test_whatever_is_written_to_the_output_is_in_the_log(bench: Any) -> None:
    document = bench.document("print_in_all_ways")
    bench.submit(document)
    log = bench.kept(document, "log.txt").decode()
    for words in ("python", "stderr", "C", "a child", "a descriptor"):
        assert f"from {words}\n" in log
    assert "no newline at the end" in log


def test_megabytes_of_output_are_kept(bench: Any) -> None:
    document = bench.document("print_megabytes")
    result = bench.submit(document)
    assert result["log_bytes"] == 40 * 100_001 == len(bench.kept(document, "log.txt"))


def test_the_log_of_a_process_that_died_is_kept(bench: Any) -> None:
    document = bench.document("print_and_die")
    result = bench.submit(document)
    assert bench.kept(document, "log.txt") == b"last words\n"
    assert result["log_bytes"] == 11


def test_a_step_that_closes_every_descriptor_still_counts(bench: Any) -> None:
    assert bench.value(bench.run("close_everything")) == 1


def test_the_log_is_live_while_the_attempt_runs(bench: Any, tmp_path: Path) -> None:
    bench.logged.clear()
    until = tmp_path / "until"
    document = bench.document("count_slowly", until=str(until))
    key = (document["run"], document["node"], document["token"])
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(bench.submit(document)))
    thread.start()
    wait_until(lambda: len(bench.logged) >= 2, what="a second piece of the live log")
    assert bench.executor.logs(*key).startswith(b"line 0\n")
    assert bench.executor.logs(*key, offset=5)[:2] == b"0\n"
    until.touch()
    thread.join()
    assert {piece[:3] for piece in bench.logged} == {key}
    assert b"".join(piece[3] for piece in bench.logged) == bench.kept(document, "log.txt")
    assert bench.executor.logs(*key) is None


# Nothing is left, and nothing leaks from one step to the next


def test_each_step_starts_with_clean_state_in_an_empty_directory(bench: Any) -> None:
    clean = {"counter": 0, "threads": 1, "folder": [], "variable": None, "recursion": 1000, "stdout": True}
    bundle = bench.bundle(nasty=NASTY)
    assert [bench.value(bench.run("count_and_spoil", bundle=bundle)) for _ in range(3)] == [clean] * 3


def test_each_step_is_a_process_and_session_of_its_own_and_its_directory_goes_with_it(bench: Any) -> None:
    places = [bench.value(bench.run("where")) for _ in range(3)]
    assert len({pid for _, pid, _ in places}) == 3
    assert all(pid == session for _, pid, session in places)
    folder = bench.value(bench.run("where"))[0]
    bench.run("count_and_spoil")
    wait_until(lambda: not Path(folder, "rubbish").exists(), what="the end of the scratch directory")


def test_random_numbers_differ_between_steps(bench: Any) -> None:
    source = "import contextlib\nwith contextlib.suppress(ImportError):\n    import numpy\n"
    bundle = bench.bundle(nasty=source + NASTY)
    first, second = (bench.value(bench.run("random_number", bundle=bundle)) for _ in range(2))
    assert first[0] != second[0]
    assert first[1] != second[1]


def test_a_seed_set_on_import_holds_in_every_step(bench: Any) -> None:
    pytest.importorskip("numpy")
    source = "import numpy\nnumpy.random.seed(7)\ndef f(): return float(numpy.random.random())\n"
    bundle = bench.bundle(seeded=source)
    assert len({bench.value(bench.run("seeded:f", bundle=bundle)) for _ in range(2)}) == 1


def test_a_fork_that_returns_as_well_counts_once(bench: Any) -> None:
    result = bench.run("fork_and_return_twice")
    assert result["status"] == "succeeded"
    assert bench.value(bench.run("add", a=1, b=1)) == 2


@pytest.mark.parametrize(
    ("function", "more"),
    [("leave_a_child", {}), ("leave_a_daemon", {}), ("leave_a_daemon", {"then": "exit"})],
)
def test_processes_that_a_step_leaves_behind_are_ended(
    bench: Any, tmp_path: Path, function: str, more: dict[str, str]
) -> None:
    bench.run(function, pids=str(tmp_path / "pid"), **more)
    left = wait_for_pid(tmp_path / "pid")
    wait_until(lambda: is_gone(left), what="the end of the process left behind")


# Ends that come from outside


@pytest.mark.parametrize("function", ["sleep_for_ever", "ignore_the_end", "leave_a_daemon"])
def test_a_timeout_ends_the_whole_tree(bench: Any, tmp_path: Path, function: str) -> None:
    place = str(tmp_path / "pid")
    more = {"pids": place, "then": "sleep"} if function == "leave_a_daemon" else {"started": place}
    document = bench.document(function, **more)
    document["timeout_seconds"] = 1.0
    started = time.monotonic()
    error = bench.error(bench.submit(document))
    assert error["kind"] == "timeout"
    assert "1 s" in error["message"]
    assert 1.0 <= time.monotonic() - started < SOON_SECONDS
    pid = wait_for_pid(tmp_path / "pid")
    wait_until(lambda: is_gone(pid), what="the end of the step's processes")


def test_a_cancelled_step_ends_at_once_and_leaves_no_result(bench: Any, tmp_path: Path) -> None:
    document = bench.document("sleep_for_ever", started=str(tmp_path / "pid"))
    key = (document["run"], document["node"], document["token"])
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(bench.executor.submit(document)))
    thread.start()
    pid = wait_for_pid(tmp_path / "pid")
    assert bench.executor.cancel(*key) is True
    thread.join(10)
    assert (results[0]["error"]["type"], results[0]["error"]["kind"]) == ("Cancelled", "system")
    assert bench.kept(document, "result.json") is None
    wait_until(lambda: is_gone(pid), what="the end of the cancelled step")
    assert bench.executor.cancel(*key) is False


def test_several_steps_run_at_once(bench: Any, tmp_path: Path) -> None:
    documents = [bench.document("sleep_for_ever", started=str(tmp_path / str(n))) for n in range(3)]
    threads = [threading.Thread(target=bench.executor.submit, args=(document,)) for document in documents]
    for thread in threads:
        thread.start()
    for n in range(3):
        wait_for_pid(tmp_path / str(n))
    for document in documents:
        bench.executor.cancel(document["run"], document["node"], document["token"])
    for thread in threads:
        thread.join(10)
    assert bench.value(bench.run("add", a=1, b=1)) == 2
