"""Secrets, as part of the contract of every executor on a worker's host: who is given one, and where none is shown."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.processes import wait_until


def with_password(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "secrets": {"password": {"env": "THE_PASSWORD"}}}


def test_a_secret_comes_from_the_variable_that_is_open_to_the_project(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD_OF_P", "emases")
    document = with_password(bench.document("tell_secret"))
    assert bench.value(bench.submit(document)) == "sesame"
    assert "'password' is not given" in bench.error(bench.run("tell_secret"))["message"]
    of_another = bench.error(bench.submit(with_password(bench.document("tell_secret")) | {"project": "q"}))
    assert of_another["message"].endswith(
        'is not open to project "q"; the operator adds q:THE_PASSWORD to CELESTA_SECRETS'
    )


def test_a_secret_is_shown_nowhere(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD_OF_P", "open sesame")
    document = with_password(bench.document("blurt"))
    error = bench.error(bench.submit(document))
    result = json.loads(bench.kept(document, "result.json"))
    assert (error["message"], error["traceback"].splitlines()[-1]) == ("not ***", "ValueError: not ***")
    assert [metric["name"] for metric in result["metrics"]] == ["loss of ***"]
    assert bench.kept(document, "report.html") == b"<p>***</p>"
    log = bench.kept(document, "log.txt")
    assert log == b"it is ***\nin a URL: ***\nin halves: ***\nas it crosses: ***=\n"
    assert result["log_bytes"] == len(log)


def test_a_secret_is_hidden_in_the_log_of_a_step_that_died(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD_OF_P", "open sesame")
    document = with_password(bench.document("blurt_and_exit"))
    assert bench.error(bench.submit(document))["type"] == "ProcessExited"
    assert bench.kept(document, "log.txt") == b"it is ***\n"


def test_the_live_log_hides_a_secret_that_comes_in_two_pieces(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD_OF_P", "open sesame")
    bench.logged.clear()
    until = tmp_path / "until"
    document = with_password(bench.document("blurt_slowly", until=str(until)))
    thread = threading.Thread(target=bench.submit, args=(document,))
    thread.start()
    wait_until(lambda: bench.logged, what="the first piece of the live log")
    assert bench.executor.logs(document["run"], document["node"], document["token"]) == b"it is "
    until.touch()
    thread.join()
    assert [piece[3] for piece in bench.logged] == [b"it is ", b"***\n"]
    assert bench.kept(document, "log.txt") == b"it is ***\n"
