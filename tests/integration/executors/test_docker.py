"""The docker executor on a real engine: the step contract in containers, commands of any image, and what goes wrong."""

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.config import Config
from celesta.files import Directory, File
from celesta.store import open_store, prefix_of
from tests.fixtures.container_engine import ContainerEngine
from tests.fixtures.processes import SOON_SECONDS, wait_until
from tests.integration.executors.conftest import OPENED, Bench
from tests.integration.executors.test_contract import (  # noqa: F401 - the contract, as far as it names no process of this host
    test_a_checkpoint_is_there_for_the_next_attempt,
    test_a_crash_shows_where_it_was,
    test_a_file_is_stored_and_received_read_only_beside_the_empty_scratch_directory,
    test_a_missing_bundle_is_a_system_error,
    test_an_exception_is_shown_with_the_users_frames_only,
    test_an_import_error_is_the_steps_own_with_its_traceback,
    test_each_field_of_a_named_tuple_is_an_output,
    test_metrics_report_and_log_are_kept,
    test_the_environment_is_there_before_the_modules_are_imported,
    test_the_first_result_of_an_attempt_stands,
    test_the_log_of_a_process_that_died_is_kept,
    test_the_result_is_durable_and_says_what_went_in_and_came_out,
    test_whatever_is_written_to_the_output_is_in_the_log,
)
from tests.integration.executors.test_secrets import (  # noqa: F401 - as above
    test_a_secret_comes_from_the_variable_that_is_open_to_the_project,
    test_a_secret_is_hidden_in_the_log_of_a_step_that_died,
    test_a_secret_is_shown_nowhere,
)
from workers.executors.docker import engine
from workers.executors.docker.executor import DockerExecutor

INT, FILE, FOLDER = {"kind": "int"}, {"kind": "file"}, {"kind": "directory"}


@pytest.fixture(scope="module")
def bench(container_engine: ContainerEngine) -> Iterator[Bench]:
    home = Path(tempfile.mkdtemp(prefix="celesta-docker-"))
    config = Config(
        home=home,
        database_url="sqlite://",
        redis_url="unix:///nowhere",
        broker_url="memory://",
        store_url=f"file://{home}/store",
        executor="docker",
        docker_host=container_engine.host,
        docker_network="none",
        step_image=container_engine.image,
        secrets=OPENED,
    )
    logged: list[tuple[str, str, str, bytes]] = []
    executor = DockerExecutor(config, lambda *piece: logged.append(piece))
    yield Bench(executor, config, open_store(config.store_url), logged)  # type: ignore[arg-type]
    left = containers(executor)
    executor.close()
    shutil.rmtree(home, ignore_errors=True)
    assert left == [], "the executor left containers behind"
    assert not list(home.glob("containers/*"))


def containers(executor: DockerExecutor) -> list[Any]:
    return list(executor._connected().containers.list(all=True, filters={"label": engine.OWNER}))


def command(bench: Bench, script: str, returns: dict[str, Any] | None = None, **inputs: Any) -> dict[str, Any]:
    """A step that is a shell's command in the image of the tests."""
    document = bench.document("command", returns=returns or {}, **inputs)
    return document | {
        "kind": "container",
        "entrypoint": None,
        "bundle": None,
        "image": bench.config.step_image,  # type: ignore[attr-defined]
        "command": ["sh", "-c", script],
    }


def test_a_step_runs_in_its_image_and_reaches_nothing_of_the_host(bench: Bench) -> None:
    source = "import os\ndef look(): return [os.path.exists(p) for p in ('/celesta/store', os.environ['OTHER'])]"
    document = bench.document("mine:look", bundle=bench.bundle(mine=source))
    document["env"] = {"OTHER": str(bench.config.home / "store")}
    assert bench.value(bench.submit(document)) == [True, False]


def test_a_command_gets_files_and_leaves_files(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/b").write_text("B")
    (tmp_path / "a").write_text("A")
    script = 'cat "$0" /celesta/in/folder/b > /celesta/out/joined; echo "$1" > /celesta/out/n; echo said; echo >&2 so'
    inputs = {"file": File(tmp_path / "a"), "folder": Directory(tmp_path / "d"), "n": 3}
    document = command(bench, script, {"joined": FILE, "n": INT}, **inputs)
    document["command"] += ["{{inputs.file}}", "{{values.n}}"]
    result = bench.submit(document)
    assert result["status"] == "succeeded", result["error"]
    assert bench.store.get_blob(result["outputs"]["joined"]["blob"]) == b"AB"
    assert result["outputs"]["n"]["inline"] == 3
    assert sorted((bench.kept(document, "log.txt") or b"").split()) == [b"said", b"so"]
    assert result["timings"]["finished_ms"] - result["timings"]["started_ms"] >= result["timings"]["body_seconds"] > 0


def test_a_command_that_fails_says_its_status_and_keeps_its_words(bench: Bench) -> None:
    document = command(bench, "echo last words; exit 3", {"n": INT})
    error = bench.error(bench.submit(document))
    assert (error["type"], error["kind"]) == ("ProcessExited", "user")
    assert "status 3" in error["message"]
    assert bench.kept(document, "log.txt") == b"last words\n"


@pytest.mark.parametrize(
    ("script", "words"),
    [("true", "n: there is no file"), ("ln -s /etc/hostname /celesta/out/n", "is a link")],
)
def test_what_a_command_leaves_is_checked_on_the_host_and_no_link_is_followed(
    bench: Bench, script: str, words: str
) -> None:
    error = bench.error(bench.submit(command(bench, script, {"n": FILE})))
    assert error["kind"] == "user"
    assert words in error["message"]


def test_a_command_is_ended_at_its_time_out(bench: Bench) -> None:
    document = command(bench, "echo asleep; sleep 60")
    document["timeout_seconds"] = 2.0
    error = bench.error(bench.submit(document))
    assert (error["type"], error["kind"]) == ("Timeout", "timeout")
    assert bench.kept(document, "log.txt") == b"asleep\n"


@pytest.mark.parametrize("kind", ["python", "container"])
def test_a_cancelled_step_ends_soon_and_leaves_no_result(bench: Bench, kind: str) -> None:
    source = "import time\ndef sleep():\n    print('asleep', flush=True)\n    time.sleep(60)\n"
    document = bench.document("mine:sleep", bundle=bench.bundle(mine=source))
    if kind == "container":
        document = command(bench, "echo asleep; sleep 60")
    key = (document["run"], document["node"], document["token"])
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(bench.executor.submit(document)))
    thread.start()
    wait_until(lambda: b"asleep" in (bench.executor.logs(*key) or b""), 60, what="the step's first words")
    assert bench.executor.cancel(*key)
    thread.join(SOON_SECONDS)
    assert found[0]["error"]["type"] == "Cancelled"
    assert bench.kept(document, "result.json") is None
    assert bench.executor.cancel(*key) is False


def test_an_image_that_is_not_there_and_a_program_that_is_not_in_it_are_told_apart(bench: Bench) -> None:
    missing = command(bench, "true") | {"image": "localhost:1/no-such-image:1"}
    error = bench.error(bench.submit(missing))
    assert "no-such-image" in error["message"]
    document = command(bench, "true") | {"command": ["no-such-program"]}
    error = bench.error(bench.submit(document))
    assert (error["type"], error["kind"]) == ("CannotStart", "user")
    assert "'no-such-program' is not in image" in error["message"]


def test_what_a_container_leaves_as_its_result_is_not_believed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step may write what it likes where its result goes: it cannot speak for another, nor name what is not there."""
    source = (
        "import json, os, pathlib\n"
        "def forge(change):\n"
        "    step = json.loads(pathlib.Path('/celesta/step.json').read_text())\n"
        "    place = next(pathlib.Path('/celesta/store').glob('runs'), None) or pathlib.Path('/celesta/store/runs')\n"
        "    folder = place / step['run'] / os.environ['QUOTED'] / step['token']\n"
        "    folder.mkdir(parents=True)\n"
        "    times = {'started_ms': 1, 'finished_ms': 1}\n"
        "    ref = {'type': 'file', 'digest': '0' * 64, 'blob': '0' * 64, 'size': 1, 'name': 'x'}\n"
        "    result = {'result_document': 1, **{k: step[k] for k in ('run', 'path', 'node', 'token')},\n"
        "        'status': 'succeeded', 'outputs': {'result': ref}, 'input_digests': {}, 'error': None,\n"
        "        'metrics': [], 'report': False, 'log_bytes': 0, 'timings': times, 'worker': 'me'}\n"
        "    (folder / 'result.json').write_text(json.dumps(result | change))\n"
        "    os._exit(0)\n"
    )
    monkeypatch.setattr("workers.executors.containers.MOST_CLAIM_BYTES", 10_000)
    for change, words in (
        ({"node": "99"}, "node: expected"),
        ({}, "names blob 0000"),
        ({"worker": "w" * 10_000}, "a result of more than 10,000 bytes"),
    ):
        document = bench.document("mine:forge", returns=FILE, bundle=bench.bundle(mine=source), change=change)
        quoted = prefix_of(document).split("/")[2]
        document["env"] = {"QUOTED": quoted}
        error = bench.error(bench.executor.submit(document) or {})
        assert error["kind"] == "user"
        assert words in error["message"]


def test_what_a_container_traced_names_nothing_that_it_does_not_have(bench: Bench) -> None:
    """The engine opens a spec that a dynamic step leaves: by a constant in it a step would be given what it names."""
    source = (
        "import json, os, pathlib\n"
        "from celesta.store import open_store, prefix_of\n"
        "step = json.loads(pathlib.Path('/celesta/step.json').read_text())\n"
        "store = open_store(step['store_url'])\n"
        "named = json.loads(step['env']['NAMED'])\n"
        "traced = store.put_blob(json.dumps({'steps': [{'inputs': {'x': {'value': named}}}]}).encode())\n"
        "traced = step['env'].get('TRACED') or traced\n"
        "result = {'result_document': 1, **{k: step[k] for k in ('run', 'path', 'node', 'token')},\n"
        "    'status': 'succeeded', 'outputs': {}, 'input_digests': {}, 'error': None, 'dynamic': traced,\n"
        "    'metrics': [], 'report': False, 'log_bytes': 0, 'worker': 'me',\n"
        "    'timings': {'started_ms': 1, 'finished_ms': 1}}\n"
        "prefix = prefix_of(step)\n"
        "store.create(f'{prefix}result.json', json.dumps(result).encode())\n"
        "os._exit(0)\n"
    )
    secret, mine = bench.store.put_blob(b"another project's"), bench.bundle(mine=source)
    spec = bench.store.put_blob(b'{"steps": []}')

    def left(named: Any, **env: str) -> dict[str, Any]:
        document = bench.document("mine:traces", bundle=mine) | {"kind": "dynamic"}
        return bench.executor.submit(document | {"env": {"NAMED": json.dumps(named), **env}}) or {}

    ref = {"type": "file", "digest": secret, "blob": secret, "size": 17, "name": "x"}
    assert f"names blob {secret}" in bench.error(left(ref))["message"]
    assert f"{spec} is not in the store" in bench.error(left(5, TRACED=spec))["message"], "nor a spec of others"
    assert left(ref | {"digest": mine, "blob": mine})["status"] == "succeeded", "it has its own code"


def test_what_a_dead_worker_left_behind_is_removed_by_the_next(
    bench: Bench, container_engine: ContainerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = bench.executor._connected()  # type: ignore[attr-defined]
    labels = {engine.OWNER: f"{os.uname().nodename}:99999999"}
    client.containers.create(container_engine.image, entrypoint=["sleep"], command=["60"], labels=labels).start()
    theirs = {engine.OWNER: "another-host:99999999"}
    other = client.containers.create(container_engine.image, entrypoint=["sleep"], command=["60"], labels=theirs)
    engine.remove_orphans(client)
    assert [one.id for one in containers(bench.executor)] == [other.id]  # type: ignore[arg-type]
    other.remove(force=True)


def test_where_no_engine_answers_the_failure_says_what_to_set(bench: Bench) -> None:
    config = replace(bench.config, docker_host="unix:///nowhere/docker.sock")  # type: ignore[type-var]
    document = bench.document("add", returns=INT, a=1, b=2)
    result = DockerExecutor(config).submit(document)  # type: ignore[arg-type]
    assert result["error"]["kind"] == "system"
    assert "DOCKER_HOST" in result["error"]["message"]
