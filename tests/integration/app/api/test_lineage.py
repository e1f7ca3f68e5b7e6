"""Where a value came from and what became of it, and who made the bytes of a file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.access import Principal
from app.db import db
from app.models import Artifact, Project
from app.services import artifact_find, lineage_query
from celesta.hashing import digest_of
from tests.fixtures.playground import OPERATOR, Playground
from tests.unit.app.specs import diamond, spec, step, task, value

PLACES = {"a": "3", "b": "1", "c": "2", "d": "0"}
BIG = "telling " * 20


@pytest.fixture
def flow(playground: Playground) -> Playground:
    playground.register(loose(diamond()))
    return playground


def loose(document: dict[str, Any]) -> dict[str, Any]:
    """The same workflow over values of any type."""
    text = json.dumps(document).replace('{"kind": "int"}', '{"kind": "any"}')
    return dict(json.loads(text))


def act(flow: Playground, run: str, given: Any, /, project: str = "default", **made: Any) -> str:
    """A whole run of the diamond. Every step makes 5 where nothing is said; `hit={"a": run}` answers from that run."""
    hits = made.pop("hit", {})
    takes = {"a": {"x": given}, "b": {"x": made.get("a", 5)}, "c": {"x": made.get("a", 5)}}
    takes["d"] = {"x": made.get("b", 5), "y": made.get("c", 5), "z": 7}
    for path in "abcd":
        inputs = {name: flow.encode(taken)["digest"] for name, taken in takes[path].items()}
        source = {"run": hits[path], "node": PLACES[path], "path": path, "token": "1.1"} if path in hits else None
        more: dict[str, Any] = {"source": source, "input_digests": inputs, "cache_key": f"key-of-{path}-{given}"[:60]}
        state = "cached" if source else "succeeded"
        flow.settle(run, PLACES[path], path, state, outputs={"result": made.get(path, 5)}, project=project, **more)
    flow.finish(run)
    return run


def launch(flow: Playground, given: Any, project: str = "default") -> str:
    run = flow.launch(project=project, inputs={"n": given})
    flow.start(run)
    return run


def artifact(flow: Playground, run: str, path: str, project: str = "default") -> int:
    items = flow.get(f"/api/v1/projects/{project}/artifacts", run=run)["items"]
    return int(next(item["id"] for item in items if item["path"] == path))


def lineage(flow: Playground, artifact_id: int, **query: Any) -> Any:
    return flow.get(f"artifacts/{artifact_id}/lineage", **query)


def paths(document: Any) -> list[tuple[str, str]]:
    return [(step["run_id"], step["path"]) for step in document["steps"]]


def test_equal_values_do_not_make_a_step_the_source_of_another(flow: Playground) -> None:
    """Every step made 5 of 5, so digests alone would say that d came from d, and a from all of them."""
    run = act(flow, launch(flow, 5), 5)
    document = lineage(flow, artifact(flow, run, "d"))
    assert [step["path"] for step in document["steps"]] == ["d", "b", "c", "a"]
    assert [step["distance"] for step in document["steps"]] == [0, 1, 1, 2]
    edges = {(edge["source"][-1], edge["target"][-1], edge["input"]) for edge in document["edges"]}
    assert edges == {("1", "0", "x"), ("2", "0", "y"), ("3", "1", "x"), ("3", "2", "x")}
    assert document["steps"][-1]["given"] == {"x": "5"}
    assert document["steps"][0]["created_by"] == "operator"


def test_a_walk_down_finds_what_was_made_of_a_value(flow: Playground) -> None:
    run = act(flow, launch(flow, 5), 5)
    assert [step["path"] for step in lineage(flow, artifact(flow, run, "a"), direction="down")["steps"]] == list("abcd")
    assert [step["path"] for step in lineage(flow, artifact(flow, run, "b"), direction="down")["steps"]] == list("bd")


def test_the_depth_bounds_the_walk(flow: Playground) -> None:
    run = act(flow, launch(flow, 5), 5)
    found = artifact(flow, run, "d")
    assert len(lineage(flow, found, depth=0)["steps"]) == 1
    assert len(lineage(flow, found, depth=1)["steps"]) == 3
    assert flow.call("GET", f"artifacts/{found}/lineage?depth=-1").status == 422


def test_a_value_from_the_cache_is_traced_to_the_run_that_computed_it(flow: Playground) -> None:
    first = act(flow, launch(flow, 5), 5)
    hit = act(flow, launch(flow, 5), 5, hit={"a": first, "b": first})
    document = lineage(flow, artifact(flow, hit, "d"))
    assert (first, "b") in paths(document)
    assert {edge["kind"] for edge in document["edges"]} == {"value", "cache"}
    down = lineage(flow, artifact(flow, first, "a"), direction="down")
    assert {(first, "d"), (hit, "a"), (hit, "d")} <= set(paths(down))


def test_lineage_goes_across_runs_for_values_that_tell_and_not_for_small_numbers(flow: Playground) -> None:
    first = act(flow, launch(flow, 1), 1, d=BIG)
    second = act(flow, launch(flow, BIG), BIG)
    third = act(flow, launch(flow, 5), 5)
    up = lineage(flow, artifact(flow, second, "a"))
    assert (first, "d") in paths(up)
    assert [edge["kind"] for edge in up["edges"] if edge["target"].startswith(second)] == ["run"]
    assert {run for run, _ in paths(lineage(flow, artifact(flow, third, "a")))} == {third}
    down = lineage(flow, artifact(flow, first, "d"), direction="down")
    assert (second, "d") in paths(down)
    assert third not in {run for run, _ in paths(down)}


def test_a_value_that_came_later_is_no_source(flow: Playground) -> None:
    """Given by hand first, and made by a run only afterwards."""
    first = act(flow, launch(flow, BIG), BIG)
    act(flow, launch(flow, 1), 1, d=BIG)
    assert {run for run, _ in paths(lineage(flow, artifact(flow, first, "a")))} == {first}


def test_a_run_fed_with_its_own_output_makes_no_cycle(flow: Playground) -> None:
    """The hardest case: identities all the way, run after run, and answers from the cache in between."""
    runs = [act(flow, launch(flow, BIG), BIG, a=BIG, b=BIG, c=BIG, d=BIG)]
    for _ in range(3):
        hits = {"a": runs[0], "c": runs[0]}
        runs.append(act(flow, launch(flow, BIG), BIG, a=BIG, b=BIG, c=BIG, d=BIG, hit=hits))
    for direction in ("up", "down"):
        for run in runs:
            for path in "abcd":
                document = lineage(flow, artifact(flow, run, path), direction=direction)
                assert is_acyclic([(edge["source"], edge["target"]) for edge in document["edges"]])
                assert not document["truncated"]


def is_acyclic(edges: list[tuple[str, str]]) -> bool:
    left = set(edges)
    while left:
        targets = {target for _, target in left}
        free = {edge for edge in left if edge[0] not in targets}
        if not free:
            return False
        left -= free
    return True


def test_a_map_is_made_of_its_items_and_an_item_of_its_element(flow: Playground) -> None:
    document = loose(spec([task("a"), task("b"), task("c")], [], name="wide"))
    document["tasks"]["a"]["interface"]["outputs"][0]["type"] = {"kind": "list", "items": {"kind": "any"}}
    document["steps"] = [
        step("a", inputs={"x": value(1)}),
        step("b", inputs={"x": {"step": "a", "output": "result"}}, map=["x"]),
        step("c", inputs={"x": {"step": "b", "output": "result"}}),
    ]
    flow.register(document)
    run = flow.launch("wide")
    flow.start(run)
    flow.settle(run, "0", "a", outputs={"result": [1, 2]})
    flow.tell(run, "map.opened", node="1", path="b", width=2, known=5)
    for item in (0, 1):
        flow.settle(run, f"1.{item}", f"b[{item}]", outputs={"result": item})
    flow.settle(run, "1", "b", outputs={"result": [0, 1]})
    flow.settle(run, "2", "c", outputs={"result": 9})
    flow.finish(run)
    up = lineage(flow, artifact(flow, run, "c"))
    assert [step["path"] for step in up["steps"]] == ["c", "b", "b[0]", "b[1]", "a"]
    down = lineage(flow, artifact(flow, run, "a"), direction="down")
    assert [step["path"] for step in down["steps"]] == ["a", "b[0]", "b[1]", "b", "c"]


def test_steps_of_projects_that_the_caller_may_not_see_are_left_out(flow: Playground) -> None:
    flow.new_project("other")
    flow.register(loose(diamond()), "other")
    theirs = act(flow, launch(flow, 1, "other"), 1, project="other", d=BIG)
    ours = act(flow, launch(flow, BIG), BIG)
    with flow.app.app_context():
        found = db.session.query(Artifact).filter_by(run_id=ours, path="a").one()
        default = db.session.query(Project).filter_by(name="default").one()
        member = Principal(name="bob", roles={default.id: "viewer"})
        seen = [
            {step["run_id"] for step in lineage_query.walk(db.session, flow.store, who, found)["steps"]}
            for who in (OPERATOR, member)
        ]
    assert seen == [{ours, theirs}, {ours}]


def test_no_more_steps_are_told_than_asked_for(flow: Playground) -> None:
    run = act(flow, launch(flow, 5), 5)
    with flow.app.app_context():
        found = db.session.query(Artifact).filter_by(run_id=run, path="d").one()
        document = lineage_query.walk(db.session, flow.store, OPERATOR, found, most=2)
    assert (len(document["steps"]), document["truncated"]) == (2, True)


def test_an_artifact_tells_its_producer_and_its_consumers(flow: Playground) -> None:
    run = act(flow, launch(flow, 5), 5, a=BIG)
    document = flow.get(f"artifacts/{artifact(flow, run, 'a')}")
    assert (document["producer"]["path"], document["producer"]["workflow"]) == ("a", "flow")
    assert sorted(user["path"] for user in document["consumers"]) == ["b", "c"]


def settle_with(flow: Playground, run: str, node: str, path: str, ref: dict[str, Any]) -> None:
    told = {"node": node, "path": path, "token": "1.1", "attempt": 1, "state": "succeeded"}
    flow.tell(run, "step.settled", **told, outcome={"status": "succeeded", "outputs": {"result": ref}, "log_bytes": 0})


def test_the_maker_of_a_file_is_found_by_its_bytes(flow: Playground) -> None:
    digest = flow.store.put_blob(b"a model")
    ref = {"type": "file", "digest": digest, "size": 7, "blob": digest, "name": "m.pkl"}
    run = launch(flow, 1)
    settle_with(flow, run, "3", "a", ref)
    found = flow.get("artifacts/find", digest=digest)
    assert [(item["run_id"], item["path"], item["part"]) for item in found["items"]] == [(run, "a", None)]
    assert found["items"][0]["workflow"] == "flow"
    assert flow.call("GET", f"artifacts/find?digest={'0' * 64}").status == 404
    assert flow.call("GET", "artifacts/find?digest=abc").status == 422


def test_an_array_is_found_by_its_stored_bytes(flow: Playground) -> None:
    blob = flow.store.put_blob(b"npy bytes")
    ref = {"type": "ndarray", "digest": "1" * 64, "size": 9, "blob": blob, "dtype": "float64", "shape": [1]}
    run = launch(flow, 1)
    settle_with(flow, run, "3", "a", ref)
    assert flow.get("artifacts/find", digest=blob)["items"][0]["run_id"] == run


def test_a_file_of_a_folder_or_of_a_list_is_found_with_its_place(flow: Playground) -> None:
    deep, other = flow.store.put_blob(b"deep"), flow.store.put_blob(b"other")
    listing = {"files": {"a/b.txt": {"digest": deep, "size": 4, "mode": 0o644}}}
    folder = flow.store.put_blob(json.dumps(listing).encode())
    run = launch(flow, 1)
    settle_with(flow, run, "3", "a", {"type": "directory", "digest": folder, "size": 4, "blob": folder})
    files = [{"type": "file", "digest": d, "size": 4, "blob": d, "name": "f"} for d in (digest_of(b"x"), other)]
    settle_with(flow, run, "1", "b", {"type": "list", "digest": "2" * 64, "size": 9, "length": 2, "items": files})
    found = [flow.get("artifacts/find", digest=d)["items"] for d in (deep, other)]
    assert [(items[0]["path"], items[0]["part"]) for items in found] == [("a", "a/b.txt"), ("b", "[1]")]
    flow.store.delete(f"blobs/sha256/{folder[:2]}/{folder}")
    assert flow.call("GET", f"artifacts/find?digest={deep}").status == 404


def folder_of(flow: Playground, inside: str, **more: Any) -> dict[str, Any]:
    listing = {"files": {"a/b.txt": {"digest": inside, "size": 4, "mode": 0o644}}, **more}
    digest = flow.store.put_blob(json.dumps(listing).encode())
    return {"type": "directory", "digest": digest, "size": 4, "blob": digest}


@pytest.mark.parametrize(
    ("kind", "listing"),
    [
        ("directory", b"no JSON"),
        ("directory", b'{"files": [1]}'),
        ("directory", b"[" * 100_000),
        ("directory", None),
        ("list", b"[1]"),
        ("list", b'[{"type": "directory", "digest": "x", "size": 1}]'),
    ],
)
def test_a_listing_of_no_form_keeps_nobody_from_finding(flow: Playground, kind: str, listing: bytes | None) -> None:
    inside, run = flow.store.put_blob(b"deep"), launch(flow, 1)
    settle_with(flow, run, "3", "a", folder_of(flow, inside))
    blob = "../x" if listing is None else flow.store.put_blob(listing)
    settle_with(flow, run, "1", "b", {"type": kind, "digest": "3" * 64, "size": 1, "blob": blob, "length": 1})
    found = flow.get("artifacts/find", digest=inside)["items"]
    assert [(one["path"], one["part"]) for one in found] == [("a", "a/b.txt")]


@pytest.mark.parametrize("bound", ["MAX_READ_BYTES", "MOST_READ_BYTES"])
def test_no_more_is_read_than_a_search_may(flow: Playground, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    inside, run = flow.store.put_blob(b"deep"), launch(flow, 1)
    settle_with(flow, run, "3", "a", folder_of(flow, inside, padding="x" * 5_000))
    settle_with(flow, run, "1", "b", folder_of(flow, inside))
    monkeypatch.setattr(artifact_find, bound, 1_000)
    found = flow.get("artifacts/find", digest=inside)["items"]
    assert [one["path"] for one in found] == ["b"]


def test_parts_are_looked_for_only_while_there_is_room(flow: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, run = flow.store.put_blob(b"deep"), launch(flow, 1)
    settle_with(flow, run, "3", "a", {"type": "file", "digest": inside, "size": 4, "blob": inside, "name": "f"})
    settle_with(flow, run, "1", "b", folder_of(flow, inside))
    monkeypatch.setattr(artifact_find, "MOST", 1)
    assert [one["path"] for one in flow.get("artifacts/find", digest=inside)["items"]] == ["a"]


def test_bytes_that_are_one_output_and_a_part_of_another_are_found_as_both(flow: Playground) -> None:
    digest = flow.store.put_blob(b"both")
    listing = {"files": {"a/b.txt": {"digest": digest, "size": 4, "mode": 0o644}}}
    folder = flow.store.put_blob(json.dumps(listing).encode())
    run = launch(flow, 1)
    settle_with(flow, run, "3", "a", {"type": "directory", "digest": folder, "size": 4, "blob": folder})
    settle_with(flow, run, "1", "b", {"type": "file", "digest": digest, "size": 4, "blob": digest, "name": "f"})
    found = flow.get("artifacts/find", digest=digest)["items"]
    assert [(one["path"], one["part"]) for one in found] == [("b", None), ("a", "a/b.txt")]


def test_who_computed_it_comes_before_whom_the_cache_gave_it(flow: Playground) -> None:
    digest = digest_of(b"x")
    ref = {"type": "file", "digest": digest, "size": 1, "blob": digest, "name": "f"}
    runs = [launch(flow, 1) for _ in range(2)]
    with flow.app.app_context():
        for run, state in zip(runs, ("cached", "succeeded"), strict=True):
            told = {"node": "3", "path": "a", "token": "1.1", "attempt": 1, "state": state}
            flow.tell(run, "step.settled", **told, outcome={"status": "succeeded", "outputs": {"result": ref}})
        found = artifact_find.find(db.session, flow.store, OPERATOR, digest)
    assert [(item["run_id"], item["cached"]) for item in found] == [(runs[1], False), (runs[0], True)]


def test_the_pages_list_artifacts_and_draw_the_lineage_of_one(flow: Playground) -> None:
    run = act(flow, launch(flow, 5), 5)
    page = flow.call("GET", "/projects/default/artifacts").text
    assert page.count(run) >= 4
    drawn = flow.call("GET", f"/projects/default/artifacts/{artifact(flow, run, 'b')}").text
    assert [name in drawn for name in ("a: succeeded", "b: succeeded", "d: succeeded")] == [True] * 3
    assert "c: succeeded" not in drawn
    assert "No artifact fits" in flow.call("GET", "/projects/default/artifacts?digest=ffff").text
