"""A wait status becomes words and a kind; the step's own result wins over what is made for it."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celesta.errors import StoreError
from celesta.runtime import verdicts
from celesta.runtime.masking import Mask
from celesta.store import open_store, step_prefix
from tests.fixtures.processes import SOON_SECONDS

DOCUMENT = {"run": "r", "path": "f", "node": "0", "token": "1.1"}
KEY = step_prefix("r", "f", "1.1") + "result.json"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


def ending(signal_number: int = 0, code: int = 0, out_of_memory: bool = False) -> dict[str, Any]:
    return {"ended": 1, "status": signal_number or code << 8, "out_of_memory": out_of_memory}


@pytest.mark.parametrize(
    ("how", "type_", "kind", "words"),
    [
        (None, "Lost", "system", "left no result"),
        (ending(code=3), "ProcessExited", "user", "status 3"),
        (ending(signal.SIGSEGV), "Crashed", "user", "SIGSEGV"),
        (ending(signal.SIGBUS), "Crashed", "user", "SIGBUS"),
        (ending(signal.SIGKILL), "Killed", "system", "SIGKILL"),
        (ending(signal.SIGTERM), "Killed", "system", "SIGTERM"),
        (ending(signal.SIGKILL, out_of_memory=True), "OutOfMemory", "out_of_memory", "ran out of memory"),
        (ending(60), "Crashed", "user", "signal 60"),
    ],
)
def test_each_end_has_its_kind(log: int, how: Any, type_: str, kind: str, words: str) -> None:
    error = verdicts.died(how, log)
    assert (error["type"], error["kind"]) == (type_, kind)
    assert words in error["message"]


def test_the_last_words_of_the_interpreter_are_the_traceback_of_a_crash(log: int) -> None:
    os.write(log, b"before\nFatal Python error: Segmentation fault\n\n  File user.py\n  File celesta/runtime/call.py\n")
    trace = verdicts.died(ending(signal.SIGSEGV), log)["traceback"]
    assert trace.splitlines() == ["Fatal Python error: Segmentation fault", "", "  File user.py"]


def test_the_result_is_created_with_the_log(tmp_path: Path, log: int) -> None:
    store = open_store(f"file://{tmp_path}/store")
    os.write(log, b"words")
    result = verdicts.conclude(DOCUMENT, store, verdicts.lost("gone"), log, time.monotonic() - 2, "host:1")
    assert json.loads(store.get(KEY) or b"") == result
    assert store.get(KEY.replace("result.json", "log.txt")) == b"words"
    assert result["log_bytes"] == 5
    assert 1_900 <= result["timings"]["finished_ms"] - result["timings"]["started_ms"] < 1_000 * SOON_SECONDS


def test_a_result_of_the_step_itself_wins(tmp_path: Path, log: int) -> None:
    store = open_store(f"file://{tmp_path}/store")
    store.create(KEY, b'{"status": "succeeded"}')
    error = verdicts.timed_out(1)
    assert verdicts.conclude(DOCUMENT, store, error, log, time.monotonic(), "host:1") == {"status": "succeeded"}


@pytest.mark.parametrize("left", [b"", b"\0\0\0", b'{"status": "succ'])
def test_what_a_loss_of_power_left_of_a_result_is_none(tmp_path: Path, log: int, left: bytes) -> None:
    store = open_store(f"file://{tmp_path}/store")
    store.create(KEY, left)
    result = verdicts.conclude(DOCUMENT, store, verdicts.timed_out(1), log, time.monotonic(), "host:1")
    assert result["error"]["type"] == "Timeout"
    assert json.loads(store.get(KEY) or b"") == result


@pytest.mark.parametrize("error", [verdicts.lost("system down"), verdicts.timed_out(1, "as system")])
def test_a_secret_is_hidden_in_what_an_error_says_and_never_in_what_it_is(tmp_path: Path, error: Any) -> None:
    store, mask = open_store(f"file://{tmp_path}/store"), Mask(["system", "timeout", "Lost"])
    told = error | {"traceback": "Lost here", "events": ["the system said"]}
    result = verdicts.conclude(DOCUMENT, store, told, None, time.monotonic(), "host:1", mask)["error"]
    assert (result["type"], result["kind"]) == (error["type"], error["kind"])
    assert (result["traceback"], result["events"]) == ("*** here", ["the *** said"])
    assert "***" in result["message"]
    assert "system" not in result["message"]


def test_a_cancelled_attempt_leaves_no_result(tmp_path: Path, log: int) -> None:
    store = open_store(f"file://{tmp_path}/store")
    result = verdicts.conclude(DOCUMENT, store, verdicts.cancelled(), log, time.monotonic(), "host:1")
    assert (result["status"], result["error"]["type"]) == ("failed", "Cancelled")
    assert store.get(KEY) is None


def test_a_store_that_does_not_answer_is_the_error(log: int) -> None:
    class Gone:
        def get(self, key: str) -> bytes:
            raise StoreError("the store is gone")

    error = verdicts.timed_out(1)
    result = verdicts.conclude(DOCUMENT, Gone(), error, log, time.monotonic(), "host:1")  # type: ignore[arg-type]
    assert (result["error"]["kind"], result["error"]["message"]) == ("system", "the store is gone")
