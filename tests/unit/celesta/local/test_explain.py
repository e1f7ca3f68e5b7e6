"""Why a step of a local run was a hit or a miss, from the index alone, and taking entries out of it."""

import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from celesta.cli.cache import cache, lines_of
from celesta.errors import InputError, NotFoundError
from celesta.local.explain import evict, explain, has_run
from tests.unit.celesta.local.flow import MODULE, Flow

NOTHING: dict[str, Any] = dict.fromkeys(("task", "run", "older_than_seconds", "larger_than_bytes")) | {"all": False}


@pytest.fixture
def flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flow:
    flow = Flow(tmp_path)
    monkeypatch.setitem(sys.modules, MODULE, flow.module)
    return flow


def length(word: str) -> int:
    return len(word)


def run(flow: Flow, word: str, code: str = "1", **options: Any) -> str:
    flow.clear()
    source = f"def length(word):\n    return {code}\n"
    flow.step(flow.task(length, "word", code, source=source), word=word)
    return flow.run(**options).run_id


def test_a_hit_names_the_step_that_answered(flow: Flow) -> None:
    first, second = run(flow, "one"), run(flow, "one")
    found = explain(flow.home, second, "length")
    assert (found["verdict"], found["source"]["run"]) == ("hit", first)
    assert f"length of run {first}" in found["reason"]


def test_a_miss_shows_what_differs_from_the_nearest_earlier_result(flow: Flow) -> None:
    first = run(flow, "one")
    assert "was in the cache before" in explain(flow.home, first, "length")["reason"]
    changed = explain(flow.home, run(flow, "two"), "length")
    assert (changed["verdict"], changed["nearest"]["run"]) == ("miss", first)
    (told,) = [line for line in lines_of(changed["nearest"]) if "input" in line]
    assert '"one"' in told
    assert '"two"' in told
    code = explain(flow.home, run(flow, "two", "2"), "length")
    assert [change["component"] for change in code["nearest"]["differences"]] == ["code"]
    assert "-    return 1\n+    return 2" in code["nearest"]["differences"][0]["diff"]


def test_a_step_that_did_not_ask_and_one_that_is_not_there_are_told_apart(flow: Flow) -> None:
    made = run(flow, "one", no_cache=True)
    assert explain(flow.home, made, "length")["verdict"] == "off"
    with pytest.raises(NotFoundError, match='no step "lenth"; did you mean "length"'):
        explain(flow.home, made, "lenth")
    assert has_run(flow.home, made)
    assert not has_run(flow.home, "../x")


def test_entries_that_fit_are_taken_out_and_the_steps_compute_again(flow: Flow) -> None:
    first, _ = run(flow, "one"), run(flow, "two")
    assert evict(flow.home, NOTHING | {"run": first}, dry_run=True)["entries"] == 1
    assert evict(flow.home, NOTHING | {"run": first}, dry_run=False)["tasks"][0]["task"] == "length"
    run(flow, "one")
    assert flow.ran == ["length"]
    run(flow, "two")
    assert flow.ran == []
    assert evict(flow.home, NOTHING | {"older_than_seconds": 3600.0}, dry_run=False)["entries"] == 0
    assert evict(flow.home, NOTHING | {"all": True}, dry_run=False)["entries"] == 2
    with pytest.raises(InputError, match="say which entries"):
        evict(flow.home, NOTHING, dry_run=False)


def test_the_command_knows_a_local_run_without_a_server(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELESTA_HOME", str(flow.home))
    made = run(flow, "one")
    told = CliRunner().invoke(cache, ["explain", made, "length"])
    assert (told.exit_code, "length: miss" in told.output) == (0, True), told.output
    gone = CliRunner().invoke(cache, ["evict", "--local", "--all", "--json"])
    assert (gone.exit_code, '"entries": 1' in gone.output) == (0, True), gone.output
