"""Work that lasts longer than a token: its access is renewed, and what it made is taken."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.secret import secret_key
from app.services import step_access
from tests.fixtures.playground import Playground
from tests.fixtures.processes import SOON_SECONDS, wait_until
from tests.integration.app.api.test_step import Pod, launch
from tests.integration.executors.conftest import Bench
from tests.unit.app.specs import diamond

LASTS_SECONDS = 60.0
STEP = "def work(go):\n    open(go).read()\n    return 'x' * 100_000\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The volume of a pod."""
    for name in ("in", "out", "home", "work"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "go")
    return tmp_path


@pytest.fixture
def pod(playground: Playground, folder: Path) -> Pod:
    playground.register(diamond())
    run = playground.launch(inputs={"n": 3})
    playground.start(run)
    playground.run_step(run, "3", "a")
    launched = launch(playground, run)
    bench = Bench(None, playground.config, playground.store)  # type: ignore[arg-type]
    like = bench.document("steps:work", bundle=bench.bundle(steps=STEP), go=str(folder / "go"))
    ours = {name: launched.document[name] for name in ("run", "project", "node", "path", "token")}
    document = like | ours | {"idempotency_key": f"{run}/a"}
    data = json.dumps(document).encode()
    playground.store.put(f"{launched.prefix}step.json", data)
    token = step_access.grant(secret_key(playground.config), document, data, LASTS_SECONDS)
    return replace(launched, document=document, token=token)


@pytest.fixture
def outlast(pod: Pod, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lets so much time pass that the token of the launch is over, once another was asked for, and then a third."""
    renewed, ahead, renew = threading.Semaphore(0), [0.0], step_access.renew

    def told(*arguments: Any) -> str:
        renewed.release()
        return renew(*arguments)

    monkeypatch.setattr(step_access, "renew", told)
    monkeypatch.setattr(step_access, "time", SimpleNamespace(time=lambda: time.time() + ahead[0]))

    def pass_time() -> None:
        for _ in range(2):
            assert renewed.acquire(timeout=SOON_SECONDS), "no fresh token was asked for"
        ahead[0] = 2 * LASTS_SECONDS
        assert pod.call("GET", "").status == 401

    return pass_time


def started(pod: Pod, folder: Path, *module: str) -> "subprocess.Popen[bytes]":
    access = {"URL": pod.playground.url, "TOKEN": pod.token, "TOKEN_SECONDS": "1", "FOLDER": str(folder)}
    environ = os.environ | {f"CELESTA_STEP_{name}": value for name, value in access.items()}
    return subprocess.Popen([sys.executable, "-P", "-m", *module], env=environ, cwd=folder)


def test_a_python_step_stores_what_it_made_after_the_token_of_its_launch_is_over(
    pod: Pod, folder: Path, outlast: Callable[[], None]
) -> None:
    with started(pod, folder, "celesta.runtime") as program:
        outlast()
        (folder / "go").write_text("on")
        assert program.wait(SOON_SECONDS) == 0
    result = json.loads(pod.playground.store.get(f"{pod.prefix}result.json") or b"{}")
    assert result["status"] == "succeeded"
    assert pod.playground.store.get_blob(result["outputs"]["result"]["blob"]) == b'"' + b"x" * 100_000 + b'"'


def test_the_outputs_of_a_command_are_taken_after_the_token_of_its_launch_is_over(
    pod: Pod, folder: Path, outlast: Callable[[], None]
) -> None:
    (folder / "out" / "result").write_text("5")
    with started(pod, folder, "celesta.runtime.exchange", "take") as program:
        wait_until((folder / "ready").exists, SOON_SECONDS)
        outlast()
        program.send_signal(signal.SIGTERM)
        assert program.wait(SOON_SECONDS) == 0
    assert json.loads(pod.playground.store.get(f"{pod.prefix}outputs.json") or b"{}")["status"] == "succeeded"
