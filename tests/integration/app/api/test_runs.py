"""Runs through the REST interface: launched, listed, waited for, cancelled."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from app.api.artifacts import ArtifactDocument
from app.api.cache import CacheStats
from app.api.runs import MAX_WAIT_SECONDS, RunDocument
from app.api.steps import StepDocument
from app.api.workflows import VersionDocument, WholeWorkflow, WorkflowDocument
from app.compiler import compile_plan
from app.db import db, writing
from app.models import Run
from celesta.hashing import canonical
from tests.fixtures.playground import Playground
from tests.unit.app.specs import diamond, output, spec, step, task, value

COUNTS = ("total", "succeeded", "cached", "failed", "skipped", "cancelled")


def launch(playground: Playground, **more: Any) -> dict[str, Any]:
    answer = playground.call("POST", "runs", {"workflow": "flow", "inputs": {"n": 3}} | more)
    assert answer.status == 201, answer.text
    document: dict[str, Any] = answer.json
    return document


def test_a_launched_run_is_queued_and_shown(flow: Playground) -> None:
    made = launch(flow)
    assert made["inputs"] == {"n": 3}
    assert made["url"] == f"{flow.url}/projects/default/runs/{made['run_id']}"
    shown = flow.get(f"runs/{made['run_id']}")
    assert shown["workflow"] == "flow"
    assert RunDocument().validate(shown) == {}


def test_the_same_idempotency_key_is_the_same_run(flow: Playground) -> None:
    first, second = (launch(flow, idempotency_key="k") for _ in range(2))
    assert first["run_id"] == second["run_id"]


def test_an_idempotency_key_that_comes_with_something_else_is_refused(flow: Playground) -> None:
    asked = {"workflow": "flow", "inputs": {"n": 3}, "idempotency_key": "k"}
    first = flow.call("POST", "runs", asked)
    newest = flow.register(diamond(timeout_seconds=60.0))
    assert flow.call("POST", "runs", asked | {"options": {"refresh": False}}).json["run_id"] == first.json["run_id"]
    for more, told in (
        ({"inputs": {"n": 4}, "options": {"priority": 1}}, "another input n, option;"),
        ({"version": newest}, "another version;"),
    ):
        answer = flow.call("POST", "runs", asked | more)
        assert (answer.status, answer.json["code"]) == (409, "conflict")
        assert told in answer.json["message"]
        assert first.json["run_id"] in answer.json["message"]
    flow.start(first.json["run_id"])
    flow.finish(first.json["run_id"])
    again = flow.call("POST", f"runs/{first.json['run_id']}/rerun", {"idempotency_key": "k"})
    assert (again.status, "another run to go back to;" in again.json["message"]) == (409, True)
    assert len(flow.get("runs")["items"]) == 1


def test_an_ended_run_tells_disjoint_counts_outputs_and_how_long_it_took(flow: Playground) -> None:
    run = flow.launch(inputs={"n": 3})
    flow.start(run)
    flow.finish(run, outputs={"result": 42}, succeeded=3, cached=1)
    document = flow.get(f"runs/{run}")
    assert (document["status"], document["outputs"]) == ("succeeded", {"result": 42})
    assert document["steps"] == {"total": 4, "succeeded": 3, "cached": 1, "failed": 0, "skipped": 0, "cancelled": 0}
    assert document["duration_seconds"] > 0
    assert document["recorded_at"] >= document["finished_at"][:19]


def test_a_running_run_counts_its_steps_but_not_the_gather_of_a_map(flow: Playground) -> None:
    run = flow.launch(inputs={"n": 3})
    flow.start(run, 6)
    flow.tell(run, "map.opened", node="0", path="d", width=2, known=6)
    flow.settle(run, "0.0", "d[0]")
    flow.run_step(run, "0.1", "d[1]")
    flow.settle(run, "1", "b", "upstream_failed")
    counts = flow.get(f"runs/{run}")["steps"]
    assert counts == dict.fromkeys(COUNTS, 0) | {"total": 6, "succeeded": 1, "skipped": 1, "running": 1}


def test_a_long_poll_answers_when_the_run_is_recorded(flow: Playground) -> None:
    run = flow.launch(inputs={"n": 3})
    flow.start(run)
    answered: list[dict[str, Any]] = []

    def poll() -> None:
        answered.append(flow.get(f"runs/{run}", wait_seconds=MAX_WAIT_SECONDS))

    poller = threading.Thread(target=poll)
    poller.start()
    hub = flow.app.extensions["celesta.events"]
    while not hub._subscriptions:
        time.sleep(0.005)
    flow.finish(run, succeeded=4)
    poller.join(MAX_WAIT_SECONDS / 2)
    assert answered[0]["recorded_at"] is not None


def test_a_long_poll_of_a_quiet_run_ends_with_its_time(flow: Playground) -> None:
    run = flow.launch(inputs={"n": 3})
    start = time.perf_counter()
    assert flow.get(f"runs/{run}", wait_seconds=0.3)["recorded_at"] is None
    assert time.perf_counter() - start >= 0.3


def test_a_long_poll_without_a_free_place_answers_at_once(flow: Playground) -> None:
    run = flow.launch(inputs={"n": 3})
    hub = flow.app.extensions["celesta.events"]
    leave = [hub.take_slot() for _ in range(48)]
    start = time.perf_counter()
    assert flow.get(f"runs/{run}", wait_seconds=MAX_WAIT_SECONDS)["recorded_at"] is None
    assert time.perf_counter() - start < MAX_WAIT_SECONDS / 2
    assert flow.call("GET", f"runs/{run}/events").status == 503
    for each in leave:
        each()


def test_pages_of_runs_are_whole_while_new_runs_arrive(flow: Playground) -> None:
    runs = [flow.launch(inputs={"n": number}) for number in range(7)]
    first = flow.get("runs", limit=3)
    flow.launch(inputs={"n": 99})
    second = flow.get("runs", limit=3, cursor=first["next_cursor"])
    third = flow.get("runs", limit=3, cursor=second["next_cursor"])
    seen = [run["run_id"] for page in (first, second, third) for run in page["items"]]
    assert seen == sorted(seen, key=lambda run: -runs.index(run))
    assert third["next_cursor"] is None
    assert len(seen) == 7


def test_runs_are_chosen_by_workflow_and_status(flow: Playground) -> None:
    flow.register(spec([task("a", ())], [step("a")], name="other"))
    ended, other = flow.launch(inputs={"n": 1}), flow.launch("other")
    flow.launch(inputs={"n": 2})
    flow.start(ended)
    flow.finish(ended, "failed", failed=1)
    assert [run["run_id"] for run in flow.get("runs", workflow="other")["items"]] == [other]
    assert [run["run_id"] for run in flow.get("runs", status="failed", workflow="flow")["items"]] == [ended]
    assert flow.get("runs", workflow="nothing")["items"] == []


def test_a_list_of_fifty_runs_takes_three_statements(flow: Playground, statements: list[str]) -> None:
    for number in range(50):
        flow.launch(inputs={"n": number})
    flow.get("runs")  # warm
    statements.clear()
    assert len(flow.get("runs")["items"]) == 50
    asked = [text for text in statements if text.startswith("SELECT") and "project.name =" not in text]
    assert len(asked) <= 3, "\n".join(asked)


def test_a_damaged_value_of_one_run_hides_no_other(flow: Playground) -> None:
    """Such were taken once, and are in databases."""
    run = flow.launch(inputs={"n": 3})
    damaged = {"type": "json", "digest": "0" * 64, "size": 2, "inline": {}}
    with flow.app.app_context(), writing(db.session):
        found = db.session.get_one(Run, run)
        found.inputs = found.outputs = {"n": damaged}
    described = {"n": {"type": "json", "digest": "0" * 64, "size": 2}}
    for document in (flow.get(f"runs/{run}"), flow.get("runs")["items"][0]):
        assert (document["inputs"], document["outputs"]) == (described, described)
    assert flow.get("comparison", run=run)["runs"][0]["inputs"] == {"n": "json, damaged"}
    for page in ("/projects/default/runs", f"/projects/default/runs/{run}", "/projects/default/workflows/flow"):
        assert flow.call("GET", page).status == 200, page


def test_cancelling_is_harmless_twice_and_after_the_end(flow: Playground) -> None:
    run = flow.launch(inputs={"n": 3})
    assert flow.call("POST", f"runs/{run}/cancel").status == 202
    assert flow.call("POST", f"runs/{run}/cancel", {}).status == 202
    flow.start(run)
    flow.finish(run, "cancelled", cancelled=4)
    assert flow.call("POST", f"runs/{run}/cancel").json["status"] == "cancelled"


def test_versions_and_workflows_are_described(flow: Playground) -> None:
    label = flow.call("POST", "versions", {"spec": diamond(), "label": "best"})
    assert (label.status, label.json["created"]) == (200, False)
    version = label.json["version"]
    (listed,) = flow.get("workflows")["items"]
    assert WorkflowDocument().validate(listed) == {}
    whole = flow.get("workflows/flow")
    assert WholeWorkflow().validate(whole) == {}
    assert [each["name"] for each in whole["tasks"]] == ["a", "b", "c", "d"]
    (only,) = flow.get("workflows/flow/versions")["items"]
    assert VersionDocument().validate(only) == {}
    for name in (version, version[:8], "best"):
        assert flow.get(f"workflows/flow/versions/{name}")["version"] == version
    assert flow.call("GET", "workflows/flow/versions/abc").status == 404


def test_the_steps_of_a_workflow_inside_are_a_group_of_the_graph_and_of_its_drawing(flow: Playground) -> None:
    text = json.dumps(diamond())
    for name in ("path", "step"):
        text = text.replace(f'"{name}": "', f'"{name}": "evaluate/')
    nested = json.loads(text)
    flow.register(nested)
    run = flow.launch(inputs={"n": 3})
    graph = flow.get(f"runs/{run}/graph")
    assert graph["groups"] == [{"path": "evaluate", "steps": [0, 1, 2, 3]}]
    assert [frame[4] for frame in graph["layout"]["frames"]] == [0, 0, 0], "one for each layer"
    page = flow.call("GET", f"/projects/default/runs/{run}").text
    assert "evaluate: a workflow inside" in page


def test_what_a_dynamic_step_opened_has_a_graph_of_its_own(flow: Playground) -> None:
    run = flow.launch(inputs={"n": 3})
    flow.start(run)
    plan = flow.store.put_blob(canonical(compile_plan(diamond())))
    flow.tell(run, "dynamic.opened", node="3", path="a", token="1.1", attempt=1, width=4, known=8, plan=plan)
    for name in ("3", "a"):
        assert len(flow.get(f"runs/{run}/graph", step=name)["nodes"]) == 4
    assert flow.call("GET", f"runs/{run}/graph?step=d").status == 404


def test_the_graph_has_a_place_for_each_step_and_is_kept_by_the_browser(flow: Playground) -> None:
    version = flow.get("workflows/flow")["version"]
    answer = flow.call("GET", f"workflows/flow/versions/{version}/graph")
    graph = answer.json
    assert [node["path"] for node in graph["nodes"]] == ["d", "b", "c", "a"]
    assert sorted(map(tuple, graph["edges"])) == [(1, 0), (2, 0), (3, 1), (3, 2)]
    assert len(graph["layout"]["nodes"]) == 4
    assert "max-age" in answer.headers["cache-control"]


def test_a_broken_spec_is_refused_with_its_problems(flow: Playground) -> None:
    broken = diamond()
    broken["steps"][0]["inputs"]["x"] = output("nowhere")
    del broken["steps"][1]["inputs"]["x"]
    answer = flow.call("POST", "versions", {"spec": broken})
    assert answer.status == 422
    assert len(answer.json["errors"]) >= 2


def test_missing_blobs_are_named_and_then_taken(flow: Playground) -> None:
    data = b"a bundle"
    digest = __import__("hashlib").sha256(data).hexdigest()
    bundled = diamond(bundle=digest)
    answer = flow.call("POST", "versions", {"spec": bundled})
    assert (answer.status, answer.json["code"], answer.json["errors"]) == (409, "missing_blobs", [digest])
    assert flow.call("HEAD", f"blobs/{digest}").status == 404
    assert flow.call("PUT", f"blobs/{digest}", data=data).status == 201
    assert flow.call("PUT", f"blobs/{digest}", data=data).status == 200
    head = flow.call("HEAD", f"blobs/{digest}")
    assert (head.status, head.headers["content-length"], head.body) == (200, "8", b"")
    assert flow.call("GET", f"blobs/{digest}").body == data
    assert flow.call("POST", "versions", {"spec": bundled}).status == 201


def test_bytes_of_another_digest_are_refused_and_not_kept(flow: Playground) -> None:
    assert flow.call("PUT", f"blobs/{'a' * 64}", data=b"x").status == 422
    assert flow.call("PUT", "blobs/xyz", data=b"x").status == 422
    assert flow.call("HEAD", f"blobs/{'a' * 64}").status == 404


def test_the_openapi_document_describes_every_route_with_its_errors(flow: Playground) -> None:
    document = flow.get("/api/v1/openapi.json")
    assert document["openapi"] == "3.1.0"
    rules = {rule.rule for rule in flow.app.url_map.iter_rules() if rule.rule.startswith("/api/v1/projects")}
    assert len(document["paths"]) >= len(rules)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method != "parameters":
                assert operation["summary"], path
                assert "default" in operation["responses"], path


def test_documents_are_as_they_are_described(flow: Playground) -> None:
    run = flow.launch(inputs={"n": 3})
    flow.start(run)
    flow.settle(run, "3", "a", outputs={"result": 5}, cache_key="k")
    for path, schema in ((f"runs/{run}/steps", StepDocument), ("artifacts", ArtifactDocument)):
        for item in flow.get(path)["items"]:
            assert schema().validate(item) == {}
    assert CacheStats().validate(flow.get("cache/stats")) == {}


def test_a_launch_that_nothing_here_can_run_is_refused_and_leaves_no_run(playground: Playground) -> None:
    command = task("a", kind="container", entrypoint=None, command=["true"], image="image:1")
    playground.register(spec([command], [step("a", inputs={"x": value(1)})]))
    answer = playground.call("POST", "runs", {"workflow": "flow"})
    assert answer.status == 422
    assert 'its executor is "process"' in answer.json["message"]
    assert playground.get("runs")["items"] == []


def test_cache_options_are_for_all_steps_or_for_those_named(flow: Playground) -> None:
    asked = {"workflow": "flow", "inputs": {"n": 1}}
    made = flow.call("POST", "runs", asked | {"options": {"refresh": ["a"], "no_cache": True}})
    assert (made.status, made.json["options"]) == (201, {"refresh": ["a"], "no_cache": True})
    wrong = flow.call("POST", "runs", asked | {"options": {"refresh": ["aa"]}})
    assert (wrong.status, "did you mean" in wrong.json["message"]) == (422, True)
    for odd in ("a", [1], 1):
        assert flow.call("POST", "runs", asked | {"options": {"refresh": odd}}).status == 422
