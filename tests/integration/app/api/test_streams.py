"""Event streams: whoever comes, early, late or again, is told the whole story once, and to its end."""

from __future__ import annotations

import time

import pytest

from app.api import streams
from tests.fixtures.playground import Playground

EVENTS = "runs/{}/events"


@pytest.fixture
def run(flow: Playground) -> str:
    run = flow.launch(inputs={"n": 3})
    flow.start(run)
    flow.settle(run, "3", "a", outputs={"result": 5})
    return run


def kinds(frames: list[dict[str, object]]) -> list[object]:
    return [frame["kind"] for frame in frames]


def test_a_late_follower_is_told_the_past_from_the_record_then_what_happens(flow: Playground, run: str) -> None:
    with flow.events(EVENTS.format(run)) as frames:
        assert [next(frames)["kind"], next(frames)["kind"]] == ["run.started", "step.settled"]
        flow.run_step(run, "1", "b")
        live = next(frames)
        assert (live["kind"], live["data"]["node"]) == ("step.running", "1")
        flow.finish(run, succeeded=4)
        rest = list(frames)
    assert kinds(rest) == ["run.finished", "run.recorded"]
    assert live["id"] < rest[-1]["id"]


def test_what_the_recorder_has_not_folded_yet_is_read_from_the_stream(flow: Playground, run: str) -> None:
    flow.tell(run, "step.running", record=False, node="2", path="c", token="1.1", attempt=1, worker="w")
    with flow.events(EVENTS.format(run)) as frames:
        told = [next(frames) for _ in range(3)]
    assert kinds(told) == ["run.started", "step.settled", "step.running"]
    assert told[-1]["data"]["node"] == "2"


def test_an_ended_run_is_told_whole_and_the_stream_ends(flow: Playground, run: str) -> None:
    flow.finish(run, outputs={"result": 9}, succeeded=4)
    flow.redis.delete("celesta:{p0}:events")
    with flow.events(EVENTS.format(run)) as frames:
        told = list(frames)
    assert kinds(told) == ["run.started", "step.settled", "run.finished", "run.recorded"]
    settled = told[1]["data"]
    assert settled["outcome"]["outputs"]["result"]["inline"] == 5
    assert told[2]["data"]["counts"]["succeeded"] == 4


def test_whoever_comes_again_is_told_the_rest_only(flow: Playground, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "CLOCK_SLACK", streams.timedelta(0))
    with flow.events(EVENTS.format(run)) as frames:
        assert [next(frames)["kind"], next(frames)["kind"]] == ["run.started", "step.settled"]
        flow.run_step(run, "1", "b")
        last_id = next(frames)["id"]
    flow.settle(run, "1", "b")
    with flow.events(EVENTS.format(run), Last_Event_ID=last_id) as frames:
        told = [next(frames) for _ in range(2)]
    assert [frame["data"].get("path") for frame in told] == [None, "b"]


def test_a_brief_stream_leaves_the_heavy_parts_out(flow: Playground, run: str) -> None:
    with flow.events(EVENTS.format(run) + "?brief=1") as frames:
        next(frames)
        settled = next(frames)["data"]
    assert set(settled["outcome"]) == {"timings"}
    assert "input_digests" not in settled


def test_a_follower_that_left_gives_its_place_back(flow: Playground, run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.05)
    hub = flow.app.extensions["celesta.events"]
    before = hub._slots._value
    for _ in range(3):
        with flow.events(EVENTS.format(run)) as frames:
            next(frames)
    for _ in range(200):
        if hub._slots._value == before and not hub._subscriptions:
            break
        time.sleep(0.02)
    assert hub._slots._value == before


def test_a_project_hears_of_starts_and_ends_only(flow: Playground, run: str) -> None:
    with flow.events("events") as frames:
        flow.settle(run, "1", "b")
        other = flow.launch(inputs={"n": 4})
        flow.start(other)
        assert next(frames)["data"]["run"] == other
        flow.finish(run, succeeded=4)
        assert kinds([next(frames), next(frames)]) == ["run.finished", "run.recorded"]


def test_a_log_comes_as_it_is_written_and_ends_with_the_step(flow: Playground, run: str) -> None:
    key = f"celesta:log:{run}:1:1.1"
    with flow.events(f"runs/{run}/steps/b/log") as frames:
        flow.run_step(run, "1", "b")
        assert next(frames)["data"] == {"text": "", "reset": True}
        flow.redis.xadd(key, {"d": "wör".encode()[:2]})
        flow.redis.xadd(key, {"d": "wör".encode()[2:] + b"ld\n"})
        text = ""
        while text != "wörld\n":
            text += next(frames)["data"]["text"]
        flow.settle(run, "1", "b", log="wörld\nand more\n")
        (last,) = list(frames)
    assert last["data"] == {"text": "and more\n", "end": True}


def test_a_live_log_that_lost_its_beginning_is_sent_again_whole(flow: Playground, run: str) -> None:
    flow.run_step(run, "1", "b")
    with flow.events(f"runs/{run}/steps/b/log") as frames:
        flow.redis.xadd(f"celesta:log:{run}:1:1.1", {"d": b"the end of much"})
        assert next(frames)["data"]["text"] == "the end of much"
        flow.settle(run, "1", "b", log="the beginning and the end of much")
        (last,) = list(frames)
    assert last["data"] == {"text": "the beginning and the end of much", "reset": True, "end": True}


def test_the_log_of_an_ended_step_is_one_frame(flow: Playground, run: str) -> None:
    flow.settle(run, "1", "b", log="done\n")
    with flow.events(f"runs/{run}/steps/b/log") as frames:
        assert [frame["data"] for frame in frames] == [{"text": "done\n", "end": True}]
