"""Runs held against each other: where two part, a table of many, and whether one came out the same again."""

from __future__ import annotations

from typing import Any

import pytest

from app.services import metric_query, run_compare
from celesta.hashing import canonical
from tests.fixtures.playground import Playground
from tests.unit.app.specs import INT, diamond, spec, step, task, value

PLACES = {"a": "3", "b": "1", "c": "2", "d": "0"}


def act(flow: Playground, run: str, **made: Any) -> str:
    """A whole run of the diamond, whose steps made what is given (else 5); a state in capitals is how a step ended."""
    flow.start(run)
    for path in "abcd":
        told = made.get(path, 5)
        if isinstance(told, str) and told.isupper():
            flow.settle(run, PLACES[path], path, told.lower(), error=None)
        else:
            inputs = {"x": flow.encode(made.get("n", 1))["digest"]} if path == "a" else {}
            flow.settle(run, PLACES[path], path, outputs={"result": told}, input_digests=inputs, **made.get("more", {}))
    flow.finish(run, made.get("status", "succeeded"), outputs={"result": made.get("d", 5)}, succeeded=4)
    return run


def diff(flow: Playground, one: str, other: str) -> Any:
    return flow.get(f"runs/{one}/diff/{other}")


def test_two_runs_that_made_the_same_have_no_divergence(flow: Playground) -> None:
    one, other = (act(flow, flow.launch(inputs={"n": 1})) for _ in range(2))
    document = diff(flow, one, other)
    assert (document["same"], document["first_divergence"], document["note"]) == (True, None, "")
    assert document["counts"] == {"steps": 4, "same": 4, "different": 0, "only_first": 0, "only_second": 0}
    assert [run["run_id"] for run in document["runs"]] == [one, other]


def test_runs_part_at_the_first_step_of_the_flow_and_not_of_the_plan(flow: Playground) -> None:
    one = act(flow, flow.launch(inputs={"n": 1}))
    other = act(flow, flow.launch(inputs={"n": 2}), n=2, a=6, c=7, d=8)
    document = diff(flow, one, other)
    assert document["first_divergence"] == {"path": "a", "why": "it was given another x"}
    assert [item["how"] for item in document["inputs"]] == ["1 became 2"]
    assert [item["how"] for item in document["outputs"]] == ["5 became 8"]
    assert [s["path"] for s in document["steps"] if s["change"] == "different"] == ["a", "c", "d"]
    assert document["steps"][0]["outputs"][0]["how"] == "5 became 6"


def test_the_same_code_and_inputs_that_made_something_else_are_told(flow: Playground) -> None:
    one, other = act(flow, flow.launch(inputs={"n": 1})), act(flow, flow.launch(inputs={"n": 1}), b=6)
    parted = diff(flow, one, other)["first_divergence"]
    assert parted == {"path": "b", "why": "the same code made something else of the same inputs"}


def test_a_step_that_failed_in_one_run_is_where_they_part(flow: Playground) -> None:
    one = act(flow, flow.launch(inputs={"n": 1}))
    other = act(flow, flow.launch(inputs={"n": 1}), c="FAILED", d="UPSTREAM_FAILED", status="failed")
    document = diff(flow, one, other)
    assert document["first_divergence"]["path"] == "c"
    assert "failed in the second" in document["first_divergence"]["why"]
    assert document["same"] is False


def test_code_that_changed_is_told_with_a_diff_of_its_source(flow: Playground) -> None:
    one = act(flow, flow.launch(inputs={"n": 1}))
    changed = diamond()
    changed["tasks"]["b"] |= {"code_digest": "f" * 64, "source": "def b(x):\n    return x + 1\n"}
    changed["tasks"]["c"] |= {"image": "python:3.12"}
    flow.register(changed)
    document = diff(flow, one, act(flow, flow.launch(inputs={"n": 1}), b=6))
    assert [(item["task"], item["change"]) for item in document["code"]] == [("b", "changed")]
    assert "+    return x + 1" in document["code"][0]["diff"]
    assert document["environment"] == [{"path": "c", "name": "image", "before": None, "after": "python:3.12"}]
    assert "its code is not the same" in document["first_divergence"]["why"]


def test_runs_of_different_workflows_say_what_can_still_be_compared(flow: Playground) -> None:
    one = act(flow, flow.launch(inputs={"n": 1}))
    interface = {"inputs": [{"name": "n", "type": INT, "required": True}], "outputs": []}
    steps = [step("a", inputs={"x": {"input": "n"}}), step("z", inputs={"x": value(1)})]
    flow.register(spec([task("a"), task("z")], steps, name="other", interface=interface))
    other = flow.launch("other", inputs={"n": 1})
    flow.start(other)
    flow.settle(other, "0", "a", outputs={"result": 5})
    flow.finish(other)
    document = diff(flow, one, other)
    assert "different workflows" in document["note"]
    assert "steps of the same path" in document["note"]
    assert {s["path"]: s["change"] for s in document["steps"]} == {
        "a": "same", "b": "only_first", "c": "only_first", "d": "only_first",
    }  # fmt: skip


def test_a_diff_with_a_run_that_is_not_there_is_a_404(flow: Playground) -> None:
    one = act(flow, flow.launch(inputs={"n": 1}))
    assert flow.call("GET", f"runs/{one}/diff/nothing").status == 404


def metrics(*points: tuple[str, int | None, float]) -> dict[str, Any]:
    return {"metrics": [{"name": name, "step": at, "value": number, "at_ms": 1} for name, at, number in points]}


def test_runs_are_laid_side_by_side_and_sorted_by_a_column(flow: Playground) -> None:
    runs = [act(flow, flow.launch(inputs={"n": n}), d=10 - n, more=metrics(("loss", None, n / 2))) for n in (3, 1, 2)]
    query = "&".join(f"run={run}" for run in runs)
    table = flow.get(f"comparison?{query}&sort=n")
    assert [run["inputs"]["n"] for run in table["runs"]] == [1, 2, 3]
    assert table["columns"] == {"inputs": ["n"], "metrics": [f"{p}.loss" for p in "dbca"], "outputs": ["result"]}
    assert table["runs"][0]["metrics"]["a.loss"] == 0.5
    best = flow.get(f"comparison?{query}&sort=b.loss&descending=true")
    assert [run["run_id"] for run in best["runs"]] == [runs[0], runs[2], runs[1]]
    assert [run["run_id"] for run in flow.get(f"comparison?{query}")["runs"]] == runs


def test_a_column_that_is_not_there_names_those_that_are(flow: Playground) -> None:
    run = act(flow, flow.launch(inputs={"n": 1}), more=metrics(("loss", None, 1.0)))
    answer = flow.call("GET", f"comparison?run={run}&sort=los")
    assert answer.status == 422
    assert "d.loss" in answer.text
    assert "may be" in flow.call("GET", f"comparison?run={run}&sort=loss").text
    assert flow.call("GET", "comparison").status == 422


def test_a_cache_hit_is_compared_by_the_metrics_of_the_step_that_answered(flow: Playground) -> None:
    first = act(flow, flow.launch(inputs={"n": 1}), more=metrics(("loss", 0, 3.0), ("loss", 1, 2.0)))
    hit = flow.launch(inputs={"n": 1})
    flow.start(hit)
    source = {"run": first, "node": "3", "path": "a", "token": "1.1"}
    flow.settle(hit, "3", "a", "cached", source=source, outputs={"result": 5})
    flow.finish(hit, cached=1)
    table = flow.get(f"comparison?run={hit}")
    assert table["runs"][0]["metrics"] == {"a.loss": 2.0}
    series = flow.get(f"comparison/series?run={hit}&run={first}&metric=a.loss")["series"]
    assert series == [
        {"run_id": hit, "path": "a", "points": [[0, 3.0], [1, 2.0]], "points_left_out": 0},
        {"run_id": first, "path": "a", "points": [[0, 3.0], [1, 2.0]], "points_left_out": 0},
    ]


def test_of_a_long_series_as_much_is_told_as_can_be_seen_with_its_end(
    flow: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metric_query, "MOST_POINTS", 5)
    run = act(flow, flow.launch(inputs={"n": 1}), more=metrics(*(("loss", at, float(at)) for at in range(12))))
    answer = flow.get(f"comparison/series?run={run}&metric=b.loss")
    points = [[0, 0.0], [3, 3.0], [6, 6.0], [9, 9.0], [11, 11.0]]
    assert answer["series"] == [{"run_id": run, "path": "b", "points": points, "points_left_out": 7}]
    monkeypatch.setattr(run_compare, "MOST_SERIES", 3)
    answer = flow.get(f"comparison/series?run={run}&metric=loss")
    assert (len(answer["series"]), answer["series_left_out"]) == (3, 1)


def reproduce(flow: Playground, run: str) -> str:
    answer = flow.call("POST", f"runs/{run}/reproduce", {})
    assert answer.status == 201, answer.text
    assert answer.json["origin"] == {"run_id": run, "kind": "reproduction"}
    assert answer.json["options"] == {"no_cache": True}
    made: str = answer.json["run_id"]
    return made


def test_a_reproduction_that_made_the_same_is_identical(flow: Playground) -> None:
    run = act(flow, flow.launch(inputs={"n": 1}))
    again = reproduce(flow, run)
    assert flow.get(f"runs/{run}/reproductions")["items"][0]["verdict"] is None
    act(flow, again)
    document = flow.get(f"runs/{again}/reproduction")
    assert (document["verdict"], document["origin_run_id"]) == ("identical", run)
    assert [(s["path"], s["verdict"]) for s in document["steps"]] == [(p, "identical") for p in "abcd"]
    listed = flow.get(f"runs/{run}/reproductions")["items"]
    assert [(item["run_id"], item["verdict"]) for item in listed] == [(again, "identical")]


@pytest.mark.parametrize(
    ("made", "verdict", "steps"),
    [
        ({"d": 6}, "different", {"d": ("different", "result: 5 became 6")}),
        (
            {"b": "FAILED", "d": "UPSTREAM_FAILED", "status": "failed"},
            "not_comparable",
            {
                "b": ("not_comparable", "succeeded in the origin, failed in the reproduction"),
                "d": ("not_comparable", "succeeded in the origin, upstream failed in the reproduction"),
            },
        ),
        ({"b": 7, "c": "FAILED", "status": "failed"}, "different", {"b": ("different", "result: 5 became 7")}),
        ({"status": "cancelled"}, "not_comparable", {}),
    ],
)
def test_the_worst_step_decides_the_verdict(
    flow: Playground, made: dict[str, Any], verdict: str, steps: dict[str, tuple[str, str]]
) -> None:
    run = act(flow, flow.launch(inputs={"n": 1}))
    again = act(flow, reproduce(flow, run), **made)
    document = flow.get(f"runs/{again}/reproduction")
    assert document["verdict"] == verdict
    found = {step["path"]: (step["verdict"], step["how"]) for step in document["steps"]}
    assert found | steps == found
    assert found["a"] == ("identical", "")


def test_what_was_skipped_both_times_is_identical(flow: Playground) -> None:
    run = act(flow, flow.launch(inputs={"n": 1}), c="SKIPPED")
    again = act(flow, reproduce(flow, run), c="SKIPPED")
    assert flow.get(f"runs/{again}/reproduction")["verdict"] == "identical"


def test_pickles_with_other_bytes_are_not_comparable(flow: Playground) -> None:
    def pickle(data: bytes) -> dict[str, Any]:
        digest = flow.store.put_blob(data)
        return {"type": "pickle", "digest": digest, "size": len(data), "blob": digest}

    run = flow.launch(inputs={"n": 1})
    for made, data in ((run, b"one"), (reproduce_later(flow, run), b"two")):
        flow.start(made)
        told = {"node": "3", "path": "a", "token": "1.1", "attempt": 1, "state": "succeeded"}
        flow.tell(made, "step.settled", **told, outcome={"status": "succeeded", "outputs": {"result": pickle(data)}})
        flow.finish(made)
    again = flow.get(f"runs/{run}/reproductions")["items"][0]["run_id"]
    document = flow.get(f"runs/{again}/reproduction")
    assert document["verdict"] == "not_comparable"
    assert "pickle" in document["steps"][0]["how"]


def reproduce_later(flow: Playground, run: str) -> str:
    """A reproduction that was launched although its origin has not ended yet: as if by the service itself."""
    from app.services.run_launch import Origin

    return flow.launch(inputs={"n": 1}, origin=Origin(run, "reproduction"))


def test_only_a_run_that_ended_is_reproduced(flow: Playground) -> None:
    run = flow.launch(inputs={"n": 1})
    answer = flow.call("POST", f"runs/{run}/reproduce", {})
    assert answer.status == 409
    assert "wait for its end" in answer.text
    act(flow, run)
    assert flow.call("GET", f"runs/{run}/reproduction").status == 409
    again = reproduce(flow, run)
    assert flow.call("GET", f"runs/{again}/reproduction").status == 409


def test_a_repeated_request_makes_one_reproduction(flow: Playground) -> None:
    run = act(flow, flow.launch(inputs={"n": 1}))
    made = {flow.call("POST", f"runs/{run}/reproduce", {"idempotency_key": "k"}).json["run_id"] for _ in range(2)}
    assert len(made) == 1


def test_the_page_shows_the_table_the_lines_and_where_two_part(flow: Playground) -> None:
    points = metrics(("loss", 0, 3.0), ("loss", 1, 2.0))
    one = act(flow, flow.launch(inputs={"n": 1}), more=points)
    other = act(flow, flow.launch(inputs={"n": 2}), n=2, a="<b>odd</b>", more=points)
    page = flow.call("GET", f"/projects/default/compare?run={one}&run={other}")
    assert page.status == 200, page.text
    assert "They part at <code>a</code>" in page.text
    assert 'class="line-1"' in page.text
    assert "<b>odd" not in page.text
    assert 'name="run" value="' in flow.call("GET", "/projects/default/runs").text
    assert flow.call("GET", "/projects/default/compare").status == 422


def test_the_page_of_a_run_shows_its_reproductions_and_its_origin(flow: Playground) -> None:
    run = act(flow, flow.launch(inputs={"n": 1}))
    again = act(flow, reproduce(flow, run), d=9)
    page = flow.call("GET", f"/projects/default/runs/{run}").text
    assert "Reproductions" in page
    assert "different" in page
    assert f"run={run}&amp;run={again}" in page
    assert "Reproduces" in flow.call("GET", f"/projects/default/runs/{again}").text


# In which environment


def kept(flow: Playground, python: str = "3.11.9", **packages: str) -> str:
    """The digest of an environment whose lock is in the store."""
    return flow.store.put_blob(canonical({"python": python, "platform": "linux-x86_64", "packages": packages}))


def ran_in(flow: Playground, run: str, environment: str, made: int = 5) -> str:
    """A run whose first step ran in this environment."""
    flow.start(run)
    outcome = {"status": "succeeded", "outputs": {"result": flow.encode(made)}, "environment": environment}
    told = {"token": "1.1", "attempt": 1, "state": "succeeded", "outcome": outcome}
    flow.tell(run, "step.settled", node="3", path="a", **told)
    flow.finish(run, succeeded=1)
    return run


def test_a_diff_names_the_package_that_is_another_where_steps_ran(flow: Playground) -> None:
    old, new = kept(flow, numpy="1.26.4", pandas="2.1"), kept(flow, numpy="2.0.0", polars="1.0", pandas="2.1")
    runs = [ran_in(flow, flow.launch(inputs={"n": 1}), environment) for environment in (old, new)]
    assert diff(flow, *runs)["environment"] == [
        {"path": "a", "name": "numpy", "before": "1.26.4", "after": "2.0.0"},
        {"path": "a", "name": "polars", "before": None, "after": "1.0"},
    ]
    assert diff(flow, runs[0], runs[0])["environment"] == []
    (environment,) = flow.get(f"runs/{runs[1]}/environment")["items"]
    assert (environment["digest"], environment["steps"], environment["python"]) == (new, 1, "3.11.9")
    assert environment["packages"]["numpy"] == "2.0.0"
    assert flow.get(f"runs/{runs[1]}/steps/a")["environment"] == new
    assert "numpy" in flow.call("GET", f"/projects/default/compare?run={runs[0]}&run={runs[1]}").text


def test_a_reproduction_tells_what_it_had_of_another_version(flow: Playground) -> None:
    run = ran_in(flow, flow.launch(inputs={"n": 1}), kept(flow, numpy="1.26.4"))
    again = ran_in(flow, reproduce(flow, run), kept(flow, numpy="2.0.0", python="3.12.1"), made=6)
    document = flow.get(f"runs/{again}/reproduction")
    assert document["verdict"] == "different"
    assert document["environment"] == [
        {"name": "python", "before": "3.11.9", "after": "3.12.1"},
        {"name": "numpy", "before": "1.26.4", "after": "2.0.0"},
    ]


def test_what_is_no_lock_is_told_by_its_digest_only(flow: Playground) -> None:
    secret = flow.store.put_blob(b'{"secret": "of somebody"}')
    runs = [ran_in(flow, flow.launch(inputs={"n": 1}), environment) for environment in (secret, "f" * 64)]
    assert diff(flow, *runs)["environment"] == [
        {"path": "a", "name": "environment", "before": secret, "after": "f" * 64}
    ]
    assert flow.get(f"runs/{runs[0]}/environment")["items"] == [
        {"digest": secret, "steps": 1, "python": None, "platform": None, "packages": {}}
    ]
