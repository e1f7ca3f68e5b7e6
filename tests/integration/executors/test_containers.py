"""The containers of a step, run one after the other as processes of a bare Python, against a real server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from celesta.codecs import encode, to_plain
from celesta.errors import ConfigError, InputError
from celesta.files import Directory, File
from celesta.store import prefix_of
from tests.fixtures.playground import Playground
from tests.fixtures.processes import wait_until
from tests.unit.app.specs import diamond
from workers.executors.containers import IO, RUNTIME, STEP, Container, conclude, containers_of

NASTY = Path(__file__).with_name("nasty.py").read_text()
ANY, INT, STR, FILE, FOLDER = {"kind": "any"}, {"kind": "int"}, {"kind": "str"}, {"kind": "file"}, {"kind": "directory"}
# The interpreter that this environment was made from: it has no Celesta and none of its dependencies.
PYTHON = str(Path(sys.base_prefix, "bin", f"python{sysconfig.get_python_version()}"))
SECONDS = 60


@dataclass
class Engine:
    """Runs containers as processes: `/celesta` is a folder of the test, `python3` a Python without packages."""

    playground: Playground
    run: str
    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def document(self, kind: str = "python", returns: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        inputs = {name: encode(value, ANY, self.playground.store) for name, value in more.pop("inputs", {}).items()}
        outputs = {"result": ANY} if returns is None else returns
        return {
            "step_document": 1,
            "run": self.run,
            "project": "default",
            "node": "3",
            "path": "a",
            "token": "1.1",
            "attempt": 1,
            "idempotency_key": f"{self.run}/a",
            "kind": kind,
            "entrypoint": None,
            "command": None,
            "bundle": None,
            "interface": {
                "inputs": [{"name": name, "type": ANY, "required": True} for name in inputs],
                "outputs": [{"name": name, "type": type_} for name, type_ in outputs.items()],
            },
            "inputs": inputs,
            "env": {},
            "secrets": {},
            "resources": {},
            "timeout_seconds": 30.0,
            "image": None,
            "store_url": self.playground.config.store_url,
            "cache_key": None,
            **more,
        }

    def python(self, function: str, source: str = NASTY, **more: Any) -> dict[str, Any]:
        return self.document(entrypoint=f"nasty:{function}", bundle=bundle(self.playground, source), **more)

    def containers(self, document: dict[str, Any]) -> dict[str, Container]:
        config = replace(self.playground.config, url=self.playground.url)
        found = containers_of(document, config, self.playground.store)
        return {container.name: container for container in found}

    def start(self, container: Container) -> subprocess.Popen[str]:
        words = [self.placed(word) for word in container.command]
        env = {name: self.placed(value) for name, value in container.env.items()}
        words[0] = PYTHON if words[0] == "python3" else words[0]
        pipe = subprocess.PIPE
        return subprocess.Popen(words, env=self.env | env, cwd=self.folder, stdout=pipe, stderr=pipe, text=True)

    def placed(self, text: str) -> str:
        """The text with the folder of this test for the mount."""
        if text == "/celesta":
            return str(self.folder)
        return text.replace("/celesta/", f"{self.folder}/")

    def finish(self, process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
        out, err = process.communicate(timeout=SECONDS)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def call(self, container: Container) -> subprocess.CompletedProcess[str]:
        return self.finish(self.start(container))

    def kept(self, document: dict[str, Any], name: str) -> bytes | None:
        return self.playground.store.get(prefix_of(document) + name)

    def result(self, document: dict[str, Any]) -> dict[str, Any]:
        return dict(json.loads(self.kept(document, "result.json") or b"{}"))

    def value(self, document: dict[str, Any], name: str = "result") -> Any:
        result = self.result(document)
        assert result["status"] == "succeeded", result["error"]
        return to_plain(result["outputs"][name], self.playground.store)


def bundle(playground: Playground, source: str) -> str:
    import io
    import zipfile

    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(zipfile.ZipInfo("nasty.py"), source)
    return playground.store.put_blob(data.getvalue())


@pytest.fixture
def engine(playground: Playground) -> Iterator[Engine]:
    playground.register(diamond())
    run = playground.launch(inputs={"n": 3})
    playground.start(run)
    playground.run_step(run, "3", "a")
    folder = playground.config.home / "volume"
    folder.mkdir()
    yield Engine(playground, run, folder, {"PATH": os.environ["PATH"]})
    shutil.rmtree(folder, ignore_errors=True)


# A Python task


def test_a_python_task_runs_where_there_is_nothing_but_python(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"weights")
    document = engine.python("read_file", inputs={"file": File(tmp_path / "weights.bin")})
    containers = engine.containers(document)
    assert list(containers) == [RUNTIME, STEP]
    assert engine.call(containers[RUNTIME]).returncode == 0
    done = engine.call(containers[STEP])
    assert done.returncode == 0, done.stderr
    assert engine.value(document) == ["weights", [], True]


def test_its_log_is_shown_and_kept(engine: Engine) -> None:
    document = engine.python("print_in_all_ways")
    containers = engine.containers(document)
    engine.call(containers[RUNTIME])
    done = engine.call(containers[STEP])
    assert "from C\n" in done.stdout
    assert (engine.kept(document, "log.txt") or b"").decode() == done.stdout


@pytest.mark.parametrize(
    ("function", "type_", "kind"),
    [
        ("fail", "ValueError", "user"),
        ("leave_at_once", "ProcessExited", "user"),
        ("segfault", "Crashed", "user"),
        ("kill_myself", "Killed", "system"),
        ("run_out_of_memory", "MemoryError", "out_of_memory"),
    ],
)
def test_every_end_of_the_users_code_has_its_result(engine: Engine, function: str, type_: str, kind: str) -> None:
    document = engine.python(function)
    containers = engine.containers(document)
    engine.call(containers[RUNTIME])
    assert engine.call(containers[STEP]).returncode == 1
    error = engine.result(document)["error"]
    assert (error["type"], error["kind"]) == (type_, kind)


SLOW = """
import os, signal, subprocess, sys, time
from pathlib import Path
from celesta import current

def sleep():
    print("asleep", flush=True)
    subprocess.Popen(["sleep", "100"])
    time.sleep(100)

def sleep_well():
    (current().checkpoint / "epoch").write_text("7")
    def wake(*_):
        print("woken", flush=True)
        raise SystemExit(1)
    signal.signal(signal.SIGTERM, wake)
    print("asleep", flush=True)
    time.sleep(100)

def deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("asleep", flush=True)
    time.sleep(100)

def finish_in_time():
    signal.signal(signal.SIGTERM, lambda *_: None)
    print("asleep", flush=True)
    signal.pause()
    return "done"

def go_on():
    return (current().checkpoint / "epoch").read_text()
"""


def test_a_time_out_ends_the_step_to_the_second_with_all_that_it_started(engine: Engine) -> None:
    document = engine.python("sleep", SLOW, timeout_seconds=1.0)
    containers = engine.containers(document)
    engine.call(containers[RUNTIME])
    assert engine.call(containers[STEP]).returncode == 1
    result = engine.result(document)
    assert (result["error"]["type"], result["error"]["kind"]) == ("Timeout", "timeout")
    assert engine.kept(document, "log.txt") == b"asleep\n"


def stopped(engine: Engine, document: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """The step container, told to stop when its step sleeps."""
    containers = engine.containers(document)
    engine.call(containers[RUNTIME])
    process = engine.start(containers[STEP])
    assert process.stdout is not None
    assert process.stdout.readline() == "asleep\n"
    process.send_signal(signal.SIGTERM)
    return engine.finish(process)


def test_told_to_stop_it_keeps_log_and_checkpoint_and_leaves_the_result_to_who_knows_why(engine: Engine) -> None:
    document = engine.python("sleep_well", SLOW)
    assert stopped(engine, document).returncode == 143
    assert engine.kept(document, "result.json") is None
    assert engine.kept(document, "log.txt") == b"asleep\nwoken\n"
    engine.playground.run_step(engine.run, "3", "a", token="1.2")
    shutil.rmtree(engine.folder)
    engine.folder.mkdir()
    again = engine.python("go_on", SLOW, token="1.2", attempt=2)
    containers = engine.containers(again)
    engine.call(containers[RUNTIME])
    done = engine.call(containers[STEP])
    assert done.returncode == 0, done.stderr
    assert engine.value(again) == "7"


def test_who_does_not_stop_is_killed_within_the_grace(engine: Engine) -> None:
    engine.env["CELESTA_STEP_GRACE_SECONDS"] = "0.5"
    document = engine.python("deaf", SLOW)
    assert stopped(engine, document).returncode == 143
    assert engine.kept(document, "result.json") is None


def test_a_step_that_finishes_in_its_grace_counts(engine: Engine) -> None:
    document = engine.python("finish_in_time", SLOW)
    assert stopped(engine, document).returncode == 0
    assert engine.value(document) == "done"


def test_the_token_is_not_handed_on_to_the_step(engine: Engine) -> None:
    source = "import os\ndef names():\n    return sorted(name for name in os.environ if 'STEP' in name)\n"
    document = engine.python("names", source)
    containers = engine.containers(document)
    engine.call(containers[RUNTIME])
    engine.call(containers[STEP])
    assert "CELESTA_STEP_TOKEN" not in engine.value(document)


def test_an_attempt_that_was_superseded_writes_nothing(engine: Engine) -> None:
    document = engine.python("add", inputs={"a": 1, "b": 2})
    containers = engine.containers(document)
    engine.call(containers[RUNTIME])
    engine.playground.run_step(engine.run, "3", "a", token="1.2")
    done = engine.call(containers[STEP])
    assert done.returncode == 3
    assert "is over" in done.stderr
    assert engine.kept(document, "result.json") is None


def test_with_an_identity_of_its_own_the_step_goes_to_the_store_itself(engine: Engine) -> None:
    document = engine.python("add", inputs={"a": 1, "b": 2})
    engine.playground.config = replace(engine.playground.config, step_access="identity")
    containers = engine.containers(document)
    assert containers[STEP].env["CELESTA_STEP_ACCESS"] == "identity"
    engine.call(containers[RUNTIME])
    assert engine.call(containers[STEP]).returncode == 0
    assert engine.value(document) == 3


# A container task


def shell(script: str, **more: Any) -> dict[str, Any]:
    return {"kind": "container", "image": "any", "command": ["sh", "-c", script]} | more


def run_container_task(engine: Engine, document: dict[str, Any]) -> int:
    """As a pod does: the runtime and the inputs, the sidecar, the command, and then the sidecar's end."""
    containers = engine.containers(document)
    assert list(containers) == [RUNTIME, IO, STEP]
    laid = engine.call(containers[RUNTIME])
    assert laid.returncode == 0, laid.stderr
    io = engine.start(containers[IO])
    ready = [PYTHON, *(engine.placed(word) for word in (containers[IO].ready or [])[1:])]
    wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, what="the sidecar")
    status = engine.call(containers[STEP]).returncode
    io.send_signal(signal.SIGTERM)
    taken = engine.finish(io)
    assert taken.returncode == 0, taken.stderr
    return status


def test_inputs_lie_as_files_and_outputs_are_taken_from_files(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/b.txt").write_text("B")
    (tmp_path / "a.txt").write_text("A")
    script = (
        'cat "$0" /celesta/in/folder/b.txt > "$1"; echo \'{"n": \'"$2"\'}\' > /celesta/out/facts;'
        " mkdir /celesta/out/all; cp -r /celesta/in /celesta/out/all; chmod -R u+w /celesta/out/all"
    )
    document = engine.document(
        **shell(script),
        inputs={
            "file": File(tmp_path / "a.txt"),
            "folder": Directory(tmp_path / "folder"),
            "n": 3,
            "words": ["x", "y"],
        },
        returns={"joined": FILE, "facts": ANY, "all": FOLDER},
    )
    document["command"] = [*document["command"], "{{inputs.file}}", "{{ outputs.joined }}", "{{values.n}}"]
    document["command"] = [engine.placed(word) for word in document["command"]]
    assert run_container_task(engine, document) == 0
    conclude(document, engine.playground.store)
    assert engine.value(document, "facts") == {"n": 3}
    outputs = engine.result(document)["outputs"]
    assert engine.playground.store.get_blob(outputs["joined"]["blob"]) == b"AB"
    listing = json.loads(engine.playground.store.get_blob(outputs["all"]["blob"]))["files"]
    assert sorted(listing) == ["in/file", "in/folder/b.txt", "in/n", "in/words"]
    assert engine.playground.store.get_blob(listing["in/words"]["digest"]) == b'["x", "y"]'


def test_the_environment_of_the_command_is_the_tasks_and_holds_no_token(engine: Engine) -> None:
    document = engine.document(**shell("true"), env={"MODE": "fast"})
    env = engine.containers(document)[STEP].env
    assert env["MODE"] == "fast"
    assert env["CELESTA_STEP_PATH"] == "a"
    assert not {"CELESTA_STEP_TOKEN", "PYTHONPATH", "HOME"} & set(env)


def test_outputs_that_are_not_as_declared_fail_the_step(engine: Engine) -> None:
    document = engine.document(**shell("true"), returns={"n": INT})
    assert run_container_task(engine, document) == 0
    error = conclude(document, engine.playground.store)["error"]
    assert error["kind"] == "user"
    assert "n: there is no file" in error["message"]


def test_a_claim_is_no_result_before_the_commands_status_is_known(engine: Engine) -> None:
    document = engine.document(**shell(engine.placed("echo 1 > /celesta/out/n; exit 3")), returns={"n": INT})
    assert run_container_task(engine, document) == 3
    assert engine.kept(document, "result.json") is None


def test_a_sidecar_that_was_killed_is_a_lost_attempt(engine: Engine) -> None:
    document = engine.document(**shell("true"), returns={"n": INT})
    engine.containers(document)
    error = conclude(document, engine.playground.store)["error"]
    assert (error["type"], error["kind"]) == ("Lost", "system")


def test_an_input_that_no_file_can_hold_is_the_steps_failure_before_the_command_starts(
    engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "a").write_text("A")
    document = engine.document(**shell("true"), inputs={"pair": {"file": File(tmp_path / "a")}}, returns={})
    assert engine.call(engine.containers(document)[RUNTIME]).returncode == 1
    assert "'pair' holds a file inside" in engine.result(document)["error"]["message"]


def test_what_no_command_line_can_hold_is_refused_before_the_launch(engine: Engine) -> None:
    document = engine.document(**shell("echo {{values.text}}"), inputs={"text": "x" * 200_000}, returns={})
    with pytest.raises(InputError, match=r"read the value from its file"):
        engine.containers(document)
    assert engine.kept(document, "step.json") is None


def test_a_deployment_that_cannot_be_called_back_says_which_setting_is_missing(engine: Engine) -> None:
    with pytest.raises(ConfigError, match="CELESTA_STEP_API_URL"):
        containers_of(engine.python("add"), engine.playground.config, engine.playground.store)
