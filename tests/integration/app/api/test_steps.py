"""Steps, their logs and reports, and the artifacts that they made."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest

from app.compiler import compile_plan
from app.services import step_query
from celesta.hashing import canonical
from tests.fixtures.playground import Playground
from tests.unit.app.specs import diamond

METRICS = [{"name": "loss", "value": value, "step": at, "at_ms": 1} for at, value in enumerate((0.5, 0.25))]


@pytest.fixture
def run(flow: Playground) -> str:
    """`a` has ended, `b` runs, the others wait."""
    run = flow.launch(inputs={"n": 3})
    flow.start(run)
    flow.run_step(run, "3", "a")
    inputs = {"x": flow.encode(3)["digest"]}
    more: dict[str, Any] = {"metrics": METRICS, "input_digests": inputs, "cache_key": "k"}
    flow.settle(run, "3", "a", outputs={"result": 5}, log="hello\nwörld\n", report="<h1>hi</h1>", **more)
    flow.run_step(run, "1", "b")
    return run


def test_steps_come_in_the_order_of_the_plan_with_those_that_wait(flow: Playground, run: str) -> None:
    steps = flow.get(f"runs/{run}/steps")["items"]
    assert [(step["path"], step["state"]) for step in steps] == [
        ("d", "waiting"),
        ("b", "running"),
        ("c", "waiting"),
        ("a", "succeeded"),
    ]


def test_pages_of_steps_join_rows_and_plan_without_gap_or_double(flow: Playground, run: str) -> None:
    seen, cursor = [], ""
    while cursor is not None:
        page = flow.get(f"runs/{run}/steps", limit=1, cursor=cursor)
        seen += [step["path"] for step in page["items"]]
        cursor = page["next_cursor"]
    assert seen == ["d", "b", "c", "a"]


def test_steps_are_chosen_by_state_and_path(flow: Playground, run: str) -> None:
    def paths(**query: str) -> list[str]:
        return [step["path"] for step in flow.get(f"runs/{run}/steps", **query)["items"]]

    assert paths(state="running") == ["b"]
    assert paths(state="waiting") == ["d", "c"]
    assert paths(path="a") == ["a"]
    assert paths(path="%") == []


def test_a_step_tells_what_went_in_and_out(flow: Playground, run: str) -> None:
    for name in ("3", "a"):
        step = flow.get(f"runs/{run}/steps/{name}")
        assert step["inputs"]["x"]["preview"] == "3"
        assert step["outputs"]["result"]["plain"] == 5
        assert [metric["value"] for metric in step["metrics"]] == [0.5, 0.25]
        assert step["attempts"][0]["worker"] == "host:1"
    assert flow.get(f"runs/{run}/steps/d")["state"] == "waiting"
    assert flow.call("GET", f"runs/{run}/steps/9").status == 404


def test_an_input_that_another_step_made_is_linked_to_its_artifact(flow: Playground, run: str) -> None:
    flow.settle(run, "1", "b", input_digests={"x": flow.encode(5)["digest"]}, outputs={"result": 6})
    found = flow.get(f"runs/{run}/steps/b")["inputs"]["x"]
    (artifact,) = [item for item in flow.get("artifacts", run=run)["items"] if item["path"] == "a"]
    assert (found["preview"], found["artifact"]) == ("5", artifact["id"])


def test_a_log_is_read_from_an_offset(flow: Playground, run: str) -> None:
    answer = flow.call("GET", f"runs/{run}/steps/a/log?offset=6")
    assert answer.text == "wörld\n"
    assert answer.headers["x-log-offset"] == "13"
    assert answer.headers["content-type"].startswith("text/plain")
    assert flow.call("GET", f"runs/{run}/steps/d/log").text == ""


def test_a_cache_hit_shows_the_log_report_and_metrics_of_the_step_that_answered(flow: Playground, run: str) -> None:
    hit = flow.launch(inputs={"n": 3})
    flow.start(hit)
    source = {"run": run, "node": "3", "path": "a", "token": "1.1"}
    flow.settle(hit, "3", "a", "cached", source=source, outputs={"result": 5}, cache_key="k")
    step = flow.get(f"runs/{hit}/steps/a")
    assert (step["cache"]["hit"], step["cache"]["source"]) == (True, source)
    assert (len(step["metrics"]), step["log_bytes"], step["report"]) == (2, 13, True)
    assert flow.call("GET", f"runs/{hit}/steps/a/log").text == "hello\nwörld\n"
    assert flow.call("GET", f"runs/{hit}/steps/a/report").status == 200
    stats = flow.get("cache/stats")
    assert (stats["entries"], stats["hits"], stats["misses"], stats["hit_rate"]) == (1, 1, 1, 0.5)
    assert stats["seconds_saved"] == pytest.approx(0.25, abs=0.01)
    assert stats["tasks"][0]["task"] == "a"


def test_a_report_can_run_nothing_against_the_dashboard(flow: Playground, run: str) -> None:
    answer = flow.call("GET", f"runs/{run}/steps/a/report")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox;")
    assert "allow-scripts" not in policy
    assert "default-src 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert flow.call("GET", f"runs/{run}/steps/b/report").status == 404


def test_the_states_of_a_map_are_told_by_its_items(flow: Playground) -> None:
    run = flow.launch(inputs={"n": 3})
    flow.start(run)
    flow.tell(run, "map.opened", node="0", path="d", width=3, known=6)
    flow.settle(run, "0.0", "d[0]")
    flow.settle(run, "0.1", "d[1]", "failed", error={"type": "E", "message": "m", "kind": "user"})
    with flow.app.app_context():
        from app.db import db
        from app.models import Run

        found = step_query.states(db.session, db.session.get_one(Run, run))
    assert found["0"] == {"state": "running", "width": 3, "done": 2, "note": "2 of 3 items, 1 failed"}


def test_an_artifact_is_a_download_that_no_browser_runs(flow: Playground, run: str) -> None:
    (artifact,) = flow.get("artifacts", run=run)["items"]
    answer = flow.call("GET", f"artifacts/{artifact['id']}/content")
    assert json.loads(answer.body) == 5
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    assert answer.headers["x-content-type-options"] == "nosniff"
    shown = flow.get(f"artifacts/{artifact['id']}")
    assert flow.get("artifacts", digest=artifact["digest"][:9])["items"] == [{key: shown[key] for key in artifact}]
    assert flow.call("GET", "artifacts/999").status == 404


def test_files_keep_their_bytes_and_name_and_directories_are_zips(flow: Playground, run: str) -> None:
    page = flow.store.put_blob(b"<script>alert(1)</script>")
    deep = {"digest": flow.store.put_blob(b"deep"), "size": 4, "mode": 0o644}
    listing = {"files": {"a/b.txt": deep}, "folders": ["b"]}
    folder = flow.store.put_blob(json.dumps(listing).encode())
    refs = {
        "page": {"type": "file", "digest": page, "size": 25, "blob": page, "name": "p.html", "media_type": "text/html"},
        "folder": {"type": "directory", "digest": folder, "size": 4, "blob": folder},
    }
    told = {"node": "1", "path": "b", "token": "1.1", "attempt": 1, "state": "succeeded"}
    flow.tell(run, "step.settled", **told, outcome={"status": "succeeded", "outputs": refs, "log_bytes": 0})
    ids = {item["name"]: item["id"] for item in flow.get("artifacts", run=run)["items"]}
    answer = flow.call("GET", f"artifacts/{ids['page']}/content")
    assert answer.body == b"<script>alert(1)</script>"
    assert "p.html" in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(flow.call("GET", f"artifacts/{ids['folder']}/content").body)) as archive:
        assert archive.read("a/b.txt") == b"deep"
        assert archive.getinfo("b/").is_dir()


@pytest.mark.parametrize(
    ("name", "media_type", "told"),
    [
        ("a\nb.txt", "text/plain\nX-Evil: 1", "filename=a_b.txt"),
        ("half \ud800.txt", "\ud800/plain", 'filename="half ?.txt"'),
        ("日本.txt", "text/plain", "filename*=UTF-8''%E6%97%A5%E6%9C%AC.txt"),
        ("größe\r.txt", "no type", "filename=groe_.txt; filename*=UTF-8''gr%C3%B6%C3%9Fe_.txt"),
    ],
    ids=["lines", "half a character", "of another alphabet", "of another language"],
)
def test_a_file_is_downloaded_whatever_a_step_has_called_it(
    flow: Playground, run: str, name: str, media_type: str, told: str
) -> None:
    blob = flow.store.put_blob(b"x")
    ref = {"type": "file", "digest": blob, "size": 1, "blob": blob, "name": name, "media_type": media_type}
    flow.settle(run, "1", "b", refs={"result": ref})
    (made,) = flow.get("artifacts", run=run, digest=blob)["items"]
    answer = flow.call("GET", f"artifacts/{made['id']}/content")
    assert (answer.status, answer.body) == (200, b"x")
    assert told in answer.headers["content-disposition"]
    assert answer.headers["content-type"].partition(";")[0] in (media_type, "application/octet-stream")
    assert "x-evil" not in answer.headers


def test_five_pages_of_a_run_of_two_thousand_steps_stay_quick(flow: Playground, run: str) -> None:
    """The same number of statements for 1 and for 500 steps; see also the statement count of the runs."""
    flow.tell(run, "map.opened", node="0", path="d", width=2_000, known=2_004)
    with flow.app.app_context():
        from app.db import db, writing
        from app.services.event_record import record_events

        events = [
            {"kind": "step.running", "run": run, "epoch": 1, "at_ms": 1, "node": f"0.{n}", "path": f"d[{n}]"}
            | {"token": "1.1", "attempt": 1, "worker": "w"}
            for n in range(2_000)
        ]
        with writing(db.session):
            record_events(db.session, events, flow._tasks_of)
    cursor, seen = "", []
    while cursor is not None:
        page = flow.get(f"runs/{run}/steps", limit=500, cursor=cursor)
        seen += [step["node"] for step in page["items"]]
        cursor = page["next_cursor"]
    assert len(seen) == len(set(seen)) == 2_004
    assert seen[:4] == ["0", "0.0", "0.1", "0.2"]


def test_an_item_of_a_map_tells_the_element_that_it_was_given(flow: Playground) -> None:
    spec = diamond()
    spec["steps"][1] |= {"map": ["x"]}
    spec["steps"][3]["inputs"] = {"x": {"input": "n"}}
    spec["tasks"]["a"]["interface"]["outputs"][0]["type"] = {"kind": "list", "items": {"kind": "int"}}
    spec["tasks"]["c"]["interface"]["inputs"][0]["type"] = {"kind": "any"}
    spec["tasks"]["d"]["interface"]["inputs"][0]["type"] = {"kind": "any"}
    flow.register(spec)
    run = flow.launch(inputs={"n": 3})
    flow.start(run)
    flow.settle(run, "3", "a", outputs={"result": list(range(100, 120))})
    flow.settle(run, "1.17", "b[17]", input_digests={"x": flow.encode(117)["digest"]})
    assert flow.get(f"runs/{run}/steps/1.17")["inputs"]["x"]["preview"] == "117"


def test_steps_of_a_plan_that_was_opened_come_behind_the_step_that_opened_it(flow: Playground) -> None:
    run = flow.launch(inputs={"n": 3})
    flow.start(run)
    flow.tell(run, "step.running", node="3", path="a", token="1.1", attempt=1, worker="w")
    digest = flow.store.put_blob(b"{}")
    flow.tell(run, "dynamic.opened", node="3", path="a", token="1.1", attempt=1, width=3, known=7, plan=digest)
    for index in range(3):
        flow.tell(
            run, "step.running", node=f"3/{index}", path=f"a/x#{index}", task="x", token="1.1", attempt=1, worker="w"
        )
    seen, cursor = [], ""
    while cursor is not None:
        page = flow.get(f"runs/{run}/steps", limit=2, cursor=cursor)
        seen += [(step["path"], step["task"]) for step in page["items"]]
        cursor = page["next_cursor"]
    assert seen == [("d", "d"), ("b", "b"), ("c", "c"), ("a", "a"), ("a/x#0", "x"), ("a/x#1", "x"), ("a/x#2", "x")]
    assert flow.get(f"runs/{run}/steps/3")["plan"] == digest
    assert flow.get(f"runs/{run}/steps/3/1")["path"] == "a/x#1"
    with flow.app.app_context():
        from app.db import db
        from app.models import Run

        row = db.session.get_one(Run, run)
        assert step_query.states(db.session, row) == {"3": {"state": "running"}}
        assert set(step_query.states_inside(db.session, row, "3")) == {"0", "1", "2"}


def test_a_step_that_nobody_has_touched_inside_of_what_was_opened_says_what_is_above_it(flow: Playground) -> None:
    run = flow.launch(inputs={"n": 3})
    flow.start(run)
    plan = flow.store.put_blob(canonical(compile_plan(diamond())))
    flow.tell(run, "step.running", node="3", path="a", token="1.1", attempt=1, worker="w")
    flow.tell(run, "dynamic.opened", node="3", path="a", token="1.1", attempt=1, width=4, known=8, plan=plan)
    for name in ("3/0", "a/d"):
        found = flow.get(f"runs/{run}/steps/{name}")
        assert (found["node"], found["path"], found["state"]) == ("3/0", "a/d", "waiting")
        assert found["waiting_for"]["steps"] == ["a/b", "a/c"]
    for name in ("3/4", "a/e", "3/0.1", "a/d[1]", "2/0", "3/"):
        assert flow.call("GET", f"/api/v1/projects/default/runs/{run}/steps/{name}").status == 404, name


def test_an_item_that_nobody_has_touched_is_a_step_of_its_map_and_no_other(flow: Playground, run: str) -> None:
    flow.tell(run, "map.opened", node="2", path="c", width=3, known=7)
    flow.redis.hset(f"celesta:{{p0}}:{run}:st", "2.2", b"ready|1.1||0|")
    assert flow.get(f"runs/{run}/steps/c[2]")["waiting_for"]["kind"] == "queue"
    for name in ("c[3]", "2.3", "d[0]", "0.0"):
        assert flow.call("GET", f"/api/v1/projects/default/runs/{run}/steps/{name}").status == 404, name


@pytest.mark.parametrize(
    ("state", "kind", "said"),
    [
        ("recovering", "recovery", "its earlier attempt"),
        ("asking", "decision", "the engine"),
        ("ready", "queue", "its turn"),
        ("sent", "queue", "a worker"),
    ],
)
def test_what_only_the_engine_knows_of_a_step_is_told_too(
    flow: Playground, run: str, state: str, kind: str, said: str
) -> None:
    flow.redis.hset(f"celesta:{{p0}}:{run}:st", "2", f"{state}|1.1||0|")
    reason = flow.get(f"runs/{run}/steps/2")["waiting_for"]
    assert (reason["kind"], reason["text"].startswith(said)) == (kind, True)


@pytest.fixture
def opened(flow: Playground) -> str:
    """`a` is dynamic and has opened a diamond; `c` is a map of three items."""
    run = flow.launch(inputs={"n": 3})
    flow.start(run)
    plan = flow.store.put_blob(canonical(compile_plan(diamond())))
    flow.run_step(run, "3", "a")
    flow.tell(run, "dynamic.opened", node="3", path="a", token="1.1", attempt=1, width=4, known=8, plan=plan)
    flow.tell(run, "map.opened", node="2", path="c", width=3, known=11)
    return run


def stands(flow: Playground, run: str, path: str) -> str | None:
    (step,) = [one for one in flow.get(f"runs/{run}/steps")["items"] if one["path"] == path]
    return step["waiting_for"] and step["waiting_for"]["text"]


def test_a_step_below_which_nothing_is_at_work_says_what_the_first_one_below_waits_for(
    flow: Playground, opened: str
) -> None:
    flow.redis.hset(f"celesta:{{p0}}:{opened}:st", mapping={"3/3": "ready|1.1||0|", "2.0": "sent|1.1||0|"})
    assert stands(flow, opened, "a") == "a/a, which waits for its turn: others go first"
    assert stands(flow, opened, "c") == "c[0], which waits for a worker: it is in the queue"
    assert flow.get(f"runs/{opened}/steps/a")["waiting_for"]["steps"] == ["a/a"]
    for page in (f"/projects/default/runs/{opened}/steps/3", f"/projects/default/runs/{opened}"):
        assert "a/a, which waits for its turn" in flow.call("GET", page).text


def test_what_waits_below_and_is_recorded_is_told_before_what_is_not(flow: Playground, opened: str) -> None:
    flow.redis.hset(f"celesta:{{p0}}:{opened}:st", mapping={"3/1": "backoff|1.1||0|", "2.1": "ready|1.1||0|"})
    retry = {"reason": "user", "error": None, "next_attempt": 2, "at_or_after_ms": 1}
    flow.run_step(opened, "3/1", "a/b", task="b")
    flow.tell(opened, "step.retry", node="3/1", path="a/b", task="b", token="1.1", **retry)
    flow.redis.zadd(f"celesta:{{p0}}:{opened}:ready", {"2.2": 1})
    assert stands(flow, opened, "a") == "a/b, which waits for its next attempt"
    assert stands(flow, opened, "c") == "c[1], which waits for its turn: others go first"


def test_a_step_below_which_one_is_at_work_waits_for_nothing(flow: Playground, opened: str) -> None:
    ready = {"3/3": "ready|1.1||0|", "2.0": "ready|1.1||0|", "3/1": "running|1.1||0|", "2.1": "running|1.1||0|"}
    flow.redis.hset(f"celesta:{{p0}}:{opened}:st", mapping=ready)
    assert (stands(flow, opened, "a"), stands(flow, opened, "c")) == (None, None)
    flow.run_step(opened, "3/1", "a/b", task="b")
    flow.run_step(opened, "2.1", "c[1]")
    assert (stands(flow, opened, "a"), stands(flow, opened, "c")) == (None, None)


PENDING = b"a node: 0/3 nodes are available: 3 Insufficient <gpu>."


@pytest.mark.parametrize(
    ("state", "told", "kind"),
    [
        (b"external|1.1", PENDING, "pod"),
        (b"flight_wait|1.1", b"the quota is used up", "pod"),
        (b"flight_wait|1.1", None, "flight"),
        (b"external|1.1", None, None),
        (b"running|1.1", PENDING, None),
    ],
)
def test_a_launched_step_says_why_it_has_not_begun(
    flow: Playground, run: str, state: bytes, told: bytes | None, kind: str | None
) -> None:
    flow.redis.hset(f"celesta:{{p0}}:{run}:st", "1", state)
    if told is not None:
        flow.redis.set(f"celesta:pending:{run}:1:1.1", told)
    reason = flow.get(f"runs/{run}/steps/1")["waiting_for"]
    assert (reason and reason["kind"]) == kind
    assert reason is None or told is None or reason["text"] == told.decode()


def test_the_page_of_a_step_says_what_its_pod_waits_for(flow: Playground, run: str) -> None:
    flow.redis.hset(f"celesta:{{p0}}:{run}:st", "1", b"external|1.1")
    flow.redis.set(f"celesta:pending:{run}:1:1.1", PENDING)
    for page in (f"/projects/default/runs/{run}/steps/1", f"/projects/default/runs/{run}"):
        assert "3 Insufficient &lt;gpu&gt;." in flow.call("GET", page).text
