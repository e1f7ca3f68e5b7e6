"""`python -m celesta.runtime DOCUMENT`: the same contract without a zygote, as a container will run it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def run_program(bench: Any, tmp_path: Path, document: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "document.json"
    file.write_text(json.dumps(document))
    environ = {**os.environ, "CELESTA_HOME": str(bench.config.home), "THE_PASSWORD": "emases"}
    command = [sys.executable, "-P", "-m", "celesta.runtime", str(file)]
    return subprocess.run(command, capture_output=True, text=True, env=environ, cwd=tmp_path, timeout=60)


def test_it_runs_the_step_and_leaves_result_and_log(bench: Any, tmp_path: Path) -> None:
    document = bench.document("print_in_all_ways")
    assert run_program(bench, tmp_path, document).returncode == 0
    assert json.loads(bench.kept(document, "result.json"))["status"] == "succeeded"
    assert b"from C\n" in bench.kept(document, "log.txt")


def test_environment_and_secrets_are_those_of_the_container(bench: Any, tmp_path: Path) -> None:
    document = bench.document("tell_secret")
    document["secrets"] = {"password": {"env": "THE_PASSWORD"}}
    run_program(bench, tmp_path, document)
    assert bench.value(json.loads(bench.kept(document, "result.json"))) == "sesame"


def test_the_program_shows_and_keeps_no_secret(bench: Any, tmp_path: Path) -> None:
    document = bench.document("blurt")
    document["secrets"] = {"password": {"env": "THE_PASSWORD"}}
    done = run_program(bench, tmp_path, document)
    assert done.stdout == bench.kept(document, "log.txt").decode()
    assert done.stdout.startswith("it is ***\n")
    assert "emases" not in done.stdout + done.stderr + str(bench.kept(document, "result.json"))


def test_a_failed_step_exits_1_with_its_error(bench: Any, tmp_path: Path) -> None:
    document = bench.document("fail")
    assert run_program(bench, tmp_path, document).returncode == 1
    assert bench.error(json.loads(bench.kept(document, "result.json")))["message"] == "the shoe is too small"


def test_a_missing_bundle_exits_3_and_says_so(bench: Any, tmp_path: Path) -> None:
    done = run_program(bench, tmp_path, bench.document("fail", bundle="0" * 64))
    assert done.returncode == 3
    assert "0" * 64 in done.stderr


@pytest.mark.parametrize("text", ["", "words"])
def test_what_is_not_a_document_exits_2(tmp_path: Path, text: str) -> None:
    file = tmp_path / "document.json"
    file.write_text(text)
    command = [sys.executable, "-P", "-m", "celesta.runtime", str(file)]
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == 2
