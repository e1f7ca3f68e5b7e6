"""Local runs over specs written by hand: what is run, what is answered from the cache, what is told."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
import time_machine

from celesta.errors import InputError, SpecError
from celesta.files import File
from celesta.runtime.context import current
from celesta.store import step_prefix
from tests.unit.celesta.local.flow import CACHED, INT, Flow, build, counts, double, load, out, total


def test_a_workflow_runs_in_the_order_of_its_data(flow: Flow) -> None:
    flow.step(flow.task(total, "xs"), xs=out("double"))
    flow.step(flow.task(double, "x"), map=["x"], x=out("load"))
    flow.step(flow.task(load, "n"), n={"input": "n"})
    flow.inputs = [{"name": "n", "type": INT, "required": True}]
    flow.outputs = {"result": out("total"), "all": {"list": [out("load"), {"dict": {"t": out("total")}}]}}
    run = flow.run({"n": 4})
    assert flow.ran == ["load", "double[0]", "double[1]", "double[2]", "double[3]", "total"]
    assert flow.value(run) == 12
    assert flow.value(run, "all") == [[0, 1, 2, 3], {"t": 12}]
    assert counts(run) == (6, 6, 0, 0, 0)
    document = run.document()
    assert document["outputs"] == {"result": 12, "all": [[0, 1, 2, 3], {"t": 12}]}
    assert document["status"] == "succeeded"
    assert (len(document["run_id"]), document["url"], document["error"]) == (13, None, None)
    assert document["duration_seconds"] > 0


def test_the_second_run_is_answered_wholly_from_the_cache(flow: Flow) -> None:
    build(flow, [1, 2, 3])
    first = flow.run()
    second = flow.run()
    assert counts(first) == (5, 5, 0, 0, 0)
    assert counts(second) == (5, 0, 5, 0, 0)
    assert flow.ran == []
    assert second.outputs == first.outputs
    sources = [event["source"] for event in flow.events if event.get("state") == "cached"]
    assert {source["run"] for source in sources} == {first.run_id}


def test_changing_one_element_of_a_mapped_list_computes_only_the_new_point(flow: Flow) -> None:
    build(flow, [1, 2, 3])
    flow.run()
    build(flow, [1, 5, 3, 2])
    run = flow.run()
    assert flow.ran == ["double[1]", "total", "shown"]
    assert flow.value(run) == "total is 22"


def test_editing_a_body_runs_it_again_and_only_those_dependents_whose_inputs_changed(flow: Flow) -> None:
    def added(x: int) -> int:
        return x + x

    added.__name__ = "double"
    build(flow, [1, 2])
    flow.run()
    build(flow, [1, 2], added, code="the same, said otherwise")
    flow.run()
    assert flow.ran == ["double[0]", "double[1]"]


def test_editing_a_body_with_another_result_runs_what_depends_on_it(flow: Flow) -> None:
    def triple(x: int) -> int:
        return 3 * x

    triple.__name__ = "double"
    build(flow, [1, 2])
    flow.run()
    build(flow, [1, 2], triple, code="2")
    assert flow.value(flow.run()) == "total is 9"
    assert flow.ran == ["double[0]", "double[1]", "total", "shown"]


def test_equal_items_of_one_run_are_computed_once(flow: Flow) -> None:
    build(flow, [7, 7, 7])
    assert counts(flow.run()) == (5, 3, 2, 0, 0)


def test_a_task_that_is_not_cached_runs_each_time(flow: Flow) -> None:
    flow.step(flow.task(load, "n", cache=None), n=2)
    flow.run()
    assert counts(flow.run()) == (1, 1, 0, 0, 0)


def test_no_cache_neither_asks_nor_fills_and_refresh_fills(flow: Flow) -> None:
    flow.step(flow.task(load, "n"), n=2)
    flow.run(no_cache=True)
    assert counts(flow.run()) == (1, 1, 0, 0, 0)
    assert counts(flow.run(no_cache=True)) == (1, 1, 0, 0, 0)
    refreshed = flow.run(refresh=True)
    assert counts(refreshed) == (1, 1, 0, 0, 0)
    hit = flow.run()
    assert counts(hit) == (1, 0, 1, 0, 0)
    assert flow.events[1]["source"]["run"] == refreshed.run_id


def test_a_result_past_its_lifetime_is_computed_again(flow: Flow) -> None:
    flow.step(flow.task(load, "n", cache=CACHED | {"ttl_seconds": 60}), n=2)
    flow.run()
    assert counts(flow.run()) == (1, 0, 1, 0, 0)
    with time_machine.travel(time.time() + 61):
        assert counts(flow.run()) == (1, 1, 0, 0, 0)


def test_a_task_cached_by_environment_is_found_again_in_the_same_one(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow.step(flow.task(load, "n", cache=CACHED | {"environment": True}), n=2)
    flow.run()
    assert counts(flow.run()) == (1, 0, 1, 0, 0)
    monkeypatch.setattr("celesta.local.run.environment_digest", lambda: "another")
    assert counts(flow.run()) == (1, 1, 0, 0, 0)


def test_a_hit_counts_only_in_the_store_that_has_its_values(flow: Flow, tmp_path: Path) -> None:
    from celesta.store import open_store

    flow.step(flow.task(load, "n"), n=2)
    flow.run()
    assert counts(flow.run(store=open_store(str(tmp_path / "other")))) == (1, 1, 0, 0, 0)


def fail(n: int) -> int:
    print("about to fail")
    raise ValueError(f"no {n}")


def test_dependents_of_a_failed_step_are_skipped_and_others_run(flow: Flow) -> None:
    flow.step(flow.task(fail, "n"), n=3)
    flow.step(flow.task(double, "x"), x=out("fail"))
    flow.step(flow.task(total, "xs"), "total", xs={"list": [out("double")]})
    flow.step(flow.task(load, "n"), n=1)
    flow.step("load", "waits", n=2, after=["fail"])
    flow.outputs = {"result": out("total"), "other": out("load")}
    run = flow.run()
    assert (run.status, counts(run)) == ("failed", (5, 1, 0, 1, 3))
    assert run.outputs == {}
    assert run.error is not None
    assert (run.error["path"], run.error["type"], run.error["message"]) == ("fail", "ValueError", "no 3")
    assert (run.error["kind"], "raise ValueError" in run.error["traceback"]) == ("user", True)
    assert run.log is not None
    assert Path(run.log.removeprefix("file://")).read_text() == "about to fail\n"
    assert run.states["double"] == run.states["waits"] == "upstream_failed"


def test_a_failed_item_fails_its_map_and_the_others_are_kept(flow: Flow) -> None:
    def picky(x: int) -> int:
        return x if x != 2 else fail(x)

    flow.step(flow.task(picky, "x"), map=["x"], x=[1, 2, 3])
    flow.step(flow.task(total, "xs"), xs=out("picky"))
    assert counts(flow.run()) == (4, 2, 0, 1, 1)
    assert counts(flow.run()) == (4, 0, 2, 1, 1)


def test_a_map_over_nothing_gives_nothing(flow: Flow) -> None:
    build(flow, [])
    assert flow.value(flow.run()) == "total is 0"


def test_lists_of_different_length_cannot_be_mapped_together(flow: Flow) -> None:
    def pair(x: int, y: int) -> int:
        return x + y

    flow.step(flow.task(load, "n"), n=2)
    flow.step(flow.task(pair, "x y"), map=["x", "y"], x=out("load"), y=[1, 2, 3])
    run = flow.run()
    assert run.error is not None
    assert 'the lists that "pair" maps over differ in length: x has 2, y has 3; give lists' in run.error["message"]


def test_a_step_is_tried_again_and_each_attempt_leaves_its_result(flow: Flow) -> None:
    attempts = []

    def flaky() -> int:
        attempts.append(current().attempt)
        (current().checkpoint / "seen").touch()
        if len(attempts) < 3:
            raise OSError("not yet")
        return len(list(current().checkpoint.iterdir()))

    flow.step(flow.task(flaky, retry={"max": 2, "backoff_seconds": 0.0, "factor": 1.0}))
    flow.outputs = {"result": out("flaky")}
    run = flow.run()
    assert flow.value(run) == 1
    assert attempts == [1, 2, 3]
    assert [event["next_attempt"] for event in flow.events if event["kind"] == "step.retry"] == [2, 3]
    for token, status in (("1.1", "failed"), ("1.2", "failed"), ("1.3", "succeeded")):
        data = flow.store.get(step_prefix(run.run_id, "flaky", token) + "result.json")
        assert data is not None
        assert json.loads(data)["status"] == status


def test_metrics_report_and_log_are_kept_with_the_result(flow: Flow, capfd: pytest.CaptureFixture[str]) -> None:
    def train() -> None:
        print("epoch 1")
        sys.stdout.buffer.write(b"raw\n")
        subprocess.run(["echo", "from a child"], check=True)
        current().log_metric("loss", 0.5, step=1)
        current().report("<h1>done</h1>")

    flow.step(flow.task(train, gives=""))
    prefix = step_prefix(flow.run().run_id, "train", "1.1")
    result = json.loads(flow.store.get(prefix + "result.json") or b"")
    assert [(metric["name"], metric["value"]) for metric in result["metrics"]] == [("loss", 0.5)]
    assert (result["report"], result["log_bytes"]) == (True, 12)
    assert flow.store.get(prefix + "report.html") == b"<h1>done</h1>"
    assert flow.store.get(prefix + "log.txt") == b"epoch 1\nraw\n"
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "epoch 1\nraw\nfrom a child\n")


class Two(NamedTuple):
    low: int
    high: int


def test_a_step_may_have_several_outputs_also_mapped(flow: Flow) -> None:
    def split(x: int) -> Two:
        return Two(x, x * 10)

    flow.step(flow.task(split, "x", gives="low high"), map=["x"], x=[1, 2])
    flow.outputs = {"low": out("split", "low"), "high": out("split", "high")}
    run = flow.run()
    assert (flow.value(run, "low"), flow.value(run, "high")) == ([1, 2], [10, 20])


def test_a_step_works_in_an_empty_folder_that_is_gone_after_it(flow: Flow) -> None:
    def write() -> File:
        assert list(Path().iterdir()) == []
        Path("model.bin").write_text("model")
        return File("model.bin")

    def read(model: File) -> str:
        assert model.path.stat().st_mode & 0o222 == 0
        return model.read_text() + str(len(list(Path().iterdir())))

    before = Path.cwd()
    flow.step(flow.task(write))
    flow.step(flow.task(read, "model"), model=out("write"))
    flow.outputs = {"result": out("read")}
    assert flow.value(flow.run()) == "model0"
    assert Path.cwd() == before
    assert list((flow.home / "scratch").iterdir()) == []


def test_a_step_sees_its_variables_and_its_secrets_only_while_it_runs(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def peek() -> list[str]:
        return [os.environ["MODE"], current().secret("PASSWORD")]

    monkeypatch.setenv("PASSWORD", "hush")
    flow.step(flow.task(peek, env={"MODE": "fast"}, secrets=["PASSWORD"]))
    flow.outputs = {"result": out("peek")}
    assert flow.value(flow.run()) == ["fast", "hush"]
    assert "MODE" not in os.environ


def test_events_tell_the_whole_run_in_order(flow: Flow) -> None:
    build(flow, [1, 2])
    run = flow.run()
    told = [(event["kind"], event.get("path"), event.get("state")) for event in flow.events]
    assert told == [
        ("run.started", None, None),
        ("map.opened", "double", None),
        ("step.running", "double[0]", None),
        ("step.settled", "double[0]", "succeeded"),
        ("step.running", "double[1]", None),
        ("step.settled", "double[1]", "succeeded"),
        ("step.settled", "double", "succeeded"),
        ("step.running", "total", None),
        ("step.settled", "total", "succeeded"),
        ("step.running", "shown", None),
        ("step.settled", "shown", "succeeded"),
        ("run.finished", None, None),
    ]
    assert {event["run"] for event in flow.events} == {run.run_id}
    assert flow.events[-1]["counts"] == run.steps


def test_missing_and_unknown_inputs_are_told_together_before_anything_runs(flow: Flow) -> None:
    flow.step(flow.task(load, "n"), n={"input": "n"})
    flow.inputs = [{"name": "n", "type": INT, "required": True}]
    with pytest.raises(InputError) as caught:
        flow.run({"m": 1})
    assert [problem.where for problem in caught.value.problems] == ["m", "n"]
    assert flow.ran == []


def test_an_input_has_its_default(flow: Flow) -> None:
    flow.step(flow.task(load, "n"), n={"input": "n"})
    flow.inputs = [{"name": "n", "type": INT, "required": False, "default": flow.ref(2)}]
    flow.outputs = {"result": out("load")}
    assert flow.value(flow.run()) == [0, 1]
    assert flow.value(flow.run({"n": 1})) == [0]


def test_a_spec_that_cannot_run_is_refused_with_its_problems(flow: Flow) -> None:
    flow.step(flow.task(double, "x"), x=out("double"))
    with pytest.raises(SpecError, match="cycle"):
        flow.run()


def test_how_a_run_ended_is_kept_in_the_home(flow: Flow) -> None:
    build(flow, [1])
    run = flow.run()
    kept = json.loads((flow.home / "local" / "index" / "runs" / f"{run.run_id}.json").read_bytes())
    states = {"double[0]": "succeeded", "total": "succeeded", "shown": "succeeded"}
    assert kept == run.document() | {"states": states, "keys": run.keys}
    assert run.keys.keys() == states.keys()


def test_a_secret_is_hidden_in_what_a_local_step_says(
    flow: Flow, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def blurt() -> None:
        print("it is", current().secret("PASSWORD"))
        raise ValueError(f"not {current().secret('PASSWORD')}")

    monkeypatch.setenv("PASSWORD", "open sesame")
    flow.step(flow.task(blurt, secrets=["PASSWORD"]))
    result = flow.run()
    assert result.error["message"] == "not ***"
    assert flow.store.get(f"runs/{result.run_id}/blurt/1.1/log.txt") == b"it is ***\n"
    assert "sesame" not in "".join(capfd.readouterr())


def test_a_secret_without_a_value_fails_its_step_with_what_to_set(flow: Flow) -> None:
    def peek() -> str:
        return current().secret("UNSET_PASSWORD")

    flow.step(flow.task(peek, secrets=["UNSET_PASSWORD"]))
    ended = flow.run()
    assert ended.error
    assert "set the environment variable UNSET_PASSWORD there" in ended.error["message"]


def test_a_step_is_told_where_it_is_by_variables_as_on_a_server(flow: Flow) -> None:
    def peek() -> list[str]:
        return [os.environ["CELESTA_RUN_ID"], os.environ["CELESTA_STEP_PATH"], os.environ["CELESTA_ATTEMPT"]]

    flow.step(flow.task(peek))
    flow.outputs = {"result": out("peek")}
    ended = flow.run()
    assert flow.value(ended) == [ended.run_id, "peek", "1"]
    assert "CELESTA_RUN_ID" not in os.environ
