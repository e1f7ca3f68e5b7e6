"""Bad input gets a clear error at once, with its exit status, and nothing half-written."""

import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from celesta.client import Client
from celesta.spec import workflow_spec
from tests.e2e.conftest import WORKFLOWS
from tests.e2e.workflows import bad
from tests.fixtures.home import short_directory
from tests.fixtures.stack import Stack

GOOD = "from celesta import task, workflow\n\n@task\ndef double(number: int) -> int:\n    return 2 * number\n\n"
WRONG = 2  # the exit status of wrong usage, bad input, and unknown names


def refused(stack: Stack, file: Path, *arguments: object) -> str:
    """What ``celesta run`` says; it has to say so before any run exists."""
    before = stack.json("runs", "list")
    done = stack.cli("run", file, *arguments, status=WRONG)
    assert stack.json("runs", "list") == before
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["doubled"], ["number"]),
        (["doubled", "--number", "many"], ["number", "many", "int"]),
        (["doubled", "--number", "1", "--colour", "red"], ["colour"]),
        (["doubld", "--number", "1"], ["doubld", "doubled", "optional"]),
    ],
    ids=["missing input", "wrong type", "extra input", "unknown workflow"],
)
def test_inputs_are_checked_before_anything_runs(stack: Stack, arguments: list[str], words: list[str]) -> None:
    said = refused(stack, WORKFLOWS / "bad.py", *arguments)
    assert [word for word in words if word not in said] == [], said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('@workflow\ndef w() -> int:\n    return double(number="one")\n', ["double", "number", "int"]),
        ("@workflow\ndef w() -> str:\n    return double(number=1)\n", ["result", "str", "int"]),
        ("@workflow\ndef w() -> int:\n    return double()\n", ["double", "number"]),
        ("@workflow\ndef w() -> int:\n    return double(number=1, size=2)\n", ["double", "size"]),
    ],
    ids=["wrong type", "wrong result", "missing input", "extra input"],
)
def test_a_workflow_is_checked_when_it_is_traced_at_its_own_line(
    stack: Stack, tmp_path: Path, body: str, words: list[str]
) -> None:
    file = tmp_path / "traced.py"
    file.write_text(GOOD + body)
    said = refused(stack, file, "w")
    assert [word for word in [*words, "traced.py"] if word not in said] == [], said


def test_a_file_that_is_not_there_is_named(stack: Stack, tmp_path: Path) -> None:
    assert "absent.py" in refused(stack, tmp_path / "absent.py", "w")


def test_an_output_that_cannot_be_stored_fails_its_step_and_names_the_task(stack: Stack, project: str) -> None:
    run = stack.json("run", WORKFLOWS / "nasty.py", "unstorable", "--project", project, status=1)
    with Client(stack.url, project=project) as client:
        error = client.run(run["run_id"])["error"]
    assert (error["path"], error["kind"]) == ("unstorable", "user")
    assert "lock" in error["message"]


def test_an_unreachable_server_is_exit_status_3(home: Path) -> None:
    stack = Stack(home, {"CELESTA_URL": "http://127.0.0.1:9"})
    done = stack.cli("runs", "list", status=3)
    assert "http://127.0.0.1:9" in done.stderr


def test_without_a_stack_the_command_names_up_and_local(home: Path) -> None:
    done = Stack(home).cli("run", WORKFLOWS / "bad.py", "optional", status=3)
    assert "celesta up" in done.stderr
    assert "--local" in done.stderr


def test_an_unwritable_home_is_named() -> None:
    with short_directory("celesta-bad-") as folder:
        (folder / "file").write_text("a file, not a folder")
        stack = Stack(folder / "file" / "home")
        done = stack.cli("up", "--detach", "--port", 0, status=None)
    assert done.returncode != 0
    assert str(stack.home) in done.stderr
    assert "CELESTA_HOME" in done.stderr


def test_a_stale_pidfile_does_not_keep_a_stack_from_starting(home: Path) -> None:
    (home / "run").mkdir()
    (home / "run" / "celesta.pid").write_text("1\n")
    (home / "run" / "stack.json").write_text('{"url": "http://127.0.0.1:1", "pids": {"web": 1}}')
    stack = Stack(home)
    stack.up()
    stack.down()


def test_wrong_settings_are_all_told_together(home: Path) -> None:
    stack = Stack(home, {"CELESTA_STORE_URL": "ftp://x", "CELESTA_LEASE_SECONDS": "soon"})
    done = stack.cli("up", "--detach", "--port", 0, status=None)
    assert done.returncode != 0
    assert "CELESTA_STORE_URL" in done.stderr
    assert "CELESTA_LEASE_SECONDS" in done.stderr


def post(stack: Stack, path: str, body: bytes, content_type: str = "application/json") -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(urlsplit(stack.url).netloc, timeout=30)
    connection.request("POST", f"/api/v1/projects/default/{path}", body, {"Content-Type": content_type})
    answer = connection.getresponse()
    document = json.loads(answer.read())
    connection.close()
    return answer.status, document


def test_a_body_that_is_not_json_is_400_in_the_one_error_form(stack: Stack) -> None:
    status, document = post(stack, "runs", b'{"workflow": ')
    assert status == 400
    assert document.keys() == {"code", "message", "errors", "request_id"}


def spec_of_doubled(name: str) -> dict[str, Any]:
    spec, _ = workflow_spec(bad.doubled)
    return {**spec, "name": name, "bundle": None}


def test_a_spec_with_several_problems_is_refused_with_all_of_them(stack: Stack) -> None:
    spec = spec_of_doubled("several")
    spec["steps"][0]["inputs"] = {"number": {"input": "nothing"}, "size": {"input": "number"}}
    status, document = post(stack, "versions", json.dumps({"spec": spec}).encode())
    assert (status, document["code"]) == (422, "invalid_spec")
    said = json.dumps(document["errors"])
    assert "nothing" in said
    assert "size" in said
    stack.cli("workflows", "show", "several", status=WRONG)


@pytest.mark.parametrize(
    ("change", "word"),
    [({"after": ["double"]}, "cycle"), ({"task": "triple"}, "triple")],
    ids=["a cycle", "an unknown task"],
)
def test_what_no_tracing_makes_is_refused_all_the_same(stack: Stack, change: dict[str, Any], word: str) -> None:
    spec = spec_of_doubled("impossible")
    spec["steps"][0] |= change
    status, document = post(stack, "versions", json.dumps({"spec": spec}).encode())
    assert status == 422
    assert word in json.dumps(document["errors"]).lower()
    stack.cli("workflows", "show", "impossible", status=WRONG)


def test_a_body_larger_than_its_limit_is_413(new_stack: Any) -> None:
    stack = new_stack(CELESTA_MAX_BODY_BYTES="1000")
    status, document = post(stack, "runs", b'{"workflow": "' + b"x" * 2000 + b'"}')
    assert status == 413
    assert document["code"]


def test_a_run_that_fails_shows_where_in_the_users_code_also_from_a_server(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "fails.py"
    file.write_text(GOOD + "@task\ndef halve(number: int) -> float:\n    return helper(number)\n\n"
                    "def helper(number):\n    return number / 0\n\n"
                    "@task\ndef spell(number: int) -> int:\n    return str(number)\n")  # fmt: skip
    raised = stack.cli("run", file, "halve", "--number", 1, status=1).stderr
    assert 'File "fails.py", line 12, in helper' in raised
    refused = stack.cli("run", file, "spell", "--number", 1, status=1).stderr
    assert "fails.py:14: what it returned does not fit its hint" in refused
