"""Versions through the REST interface: which is active, going back, and what differs between two."""

from __future__ import annotations

import hashlib
import io
import zipfile
from typing import Any

import pytest

from app.api.workflows import RolledBack, VersionDiff, VersionDocument
from app.db import db
from app.models import Audit
from app.services import version_diff
from tests.fixtures.playground import Playground
from tests.unit.app.specs import diamond, spec, step, task

LOCK = {"python": "3.11.9", "platform": "linux-x86_64", "packages": {"numpy": "2.1.0"}}


@pytest.fixture
def three(playground: Playground) -> tuple[Playground, list[str]]:
    """Three versions of `flow`, registered one after the other."""
    made = [playground.register(diamond(python=f"3.{minor}")) for minor in (11, 12, 13)]
    return playground, made


def active(playground: Playground) -> str:
    version: str = playground.get("workflows/flow")["version"]
    return version


def rollback(playground: Playground, **body: Any) -> Any:
    answer = playground.call("POST", "workflows/flow/rollback", body)
    assert answer.status == 200, answer.text
    assert RolledBack().validate(answer.json) == {}
    return answer.json


def actions(playground: Playground) -> list[str]:
    with playground.app.app_context():
        return [row.action for row in db.session.query(Audit).order_by(Audit.id)]


def test_a_version_records_commit_environment_and_who(playground: Playground) -> None:
    spec = diamond(git={"commit": "c" * 40, "dirty": True}, environment=LOCK)
    spec["tasks"]["a"]["image"] = "team/image@sha256:1"
    playground.register(spec)
    shown = playground.get("workflows/flow")
    assert shown["git"] == {"commit": "c" * 40, "dirty": True}
    assert shown["environment"]["python"] == "3.11.9"
    assert shown["environment"]["images"] == ["team/image@sha256:1"]
    assert len(shown["environment"]["lock"]) == 64
    assert shown["packages"] == LOCK["packages"]
    assert shown["created_by"] == "operator"


def test_a_pod_template_that_asks_for_too_much_is_refused_with_all_that_it_asks_for(playground: Playground) -> None:
    asked = {"hostNetwork": True, "volumes": [{"name": "root", "hostPath": {"path": "/"}}]}
    steps = [step("train", options={"executor": "kubernetes", "pod_template": {"spec": asked}})]
    answer = playground.call("POST", "versions", {"spec": spec([task("train", ())], steps)})
    assert answer.status == 422
    assert "CELESTA_POD_SECURITY" in answer.json["message"]
    places = ["spec.hostNetwork", "spec.volumes[root].hostPath"]
    assert [problem["where"] for problem in answer.json["errors"]] == [
        f"steps.train.options.pod_template.{place}" for place in places
    ]


def test_a_constant_or_a_default_that_is_nested_too_deeply_is_a_problem_at_its_place(playground: Playground) -> None:
    deep: list[Any] = []
    for _ in range(900):
        deep = [deep]
    ref = {"type": "json", "digest": "0" * 64, "size": 1, "inline": deep}
    asked = diamond()
    asked["steps"][0]["inputs"]["z"] = {"value": ref}
    asked["interface"]["inputs"][0] |= {"default": ref, "required": False}
    for where in ("interface.inputs.n.default", "steps.d.inputs.z"):
        answer = playground.call("POST", "versions", {"spec": asked})
        assert answer.status == 422, answer.text
        assert answer.json["errors"] == [{"where": where, "message": "is nested too deeply"}]
        asked["interface"]["inputs"][0].pop("default", None)


def test_the_environment_of_the_author_is_no_part_of_a_versions_identity(playground: Playground) -> None:
    first = playground.register(diamond(environment=LOCK))
    assert playground.register(diamond(environment=LOCK | {"packages": {"numpy": "2.2.0"}})) == first


def test_activate_chooses_what_launches_use(three: tuple[Playground, list[str]]) -> None:
    playground, (first, _, third) = three
    assert active(playground) == third
    answer = playground.call("POST", "workflows/flow/activate", {"version": first[:12]})
    assert VersionDocument().validate(answer.json) == {}
    assert answer.json["active"]
    run = playground.launch(inputs={"n": 1})
    assert playground.get(f"runs/{run}")["version"] == first
    assert "workflow.activate" in actions(playground)


def test_a_version_that_was_chosen_is_not_replaced_by_a_run_of_a_changed_file(
    three: tuple[Playground, list[str]],
) -> None:
    playground, (first, *_) = three
    playground.call("POST", "workflows/flow/activate", {"version": first})
    quiet = {"spec": diamond(python="3.14"), "activate": False}
    assert playground.call("POST", "versions", quiet).json["active"] is False
    assert active(playground) == first
    loud = playground.call("POST", "versions", {"spec": diamond(python="3.15")}).json
    assert loud["active"]
    assert active(playground) == loud["version"]


def test_rolling_back_twice_goes_back_twice(three: tuple[Playground, list[str]]) -> None:
    playground, (first, second, third) = three
    assert rollback(playground) == {
        "workflow": "flow",
        "left": third,
        "version": second,
        "schedules": [],
        "aliases": [],
    }
    assert rollback(playground)["version"] == first
    answer = playground.call("POST", "workflows/flow/rollback", {})
    assert answer.status == 409
    assert "nothing to go back to" in answer.json["message"]
    assert active(playground) == first


def test_rolling_back_after_an_activation_undoes_it(three: tuple[Playground, list[str]]) -> None:
    playground, (first, second, third) = three
    playground.call("POST", "workflows/flow/activate", {"version": first})
    assert rollback(playground)["version"] == third
    assert rollback(playground)["version"] == second


def test_rolling_back_to_a_named_version_skips_those_between(three: tuple[Playground, list[str]]) -> None:
    playground, (first, _, third) = three
    assert rollback(playground, to=first[:8])["left"] == third
    assert playground.call("POST", "workflows/flow/rollback", {"to": first}).status == 409


def test_schedules_move_along_with_their_workflow(three: tuple[Playground, list[str]]) -> None:
    playground, (first, second, third) = three
    for name, version in (("follows", None), ("pinned", third), ("elsewhere", first)):
        made = {"name": name, "workflow": "flow", "cron": "0 3 * * *", "inputs": {"n": 1}, "version": version}
        assert playground.call("POST", "schedules", made).status == 201
    assert rollback(playground)["schedules"] == ["follows", "pinned"]
    found = {one["name"]: one["version"] for one in playground.get("schedules")["items"]}
    assert found == {"follows": None, "pinned": second, "elsewhere": first}
    assert actions(playground)[-1] == "workflow.rollback"


def test_a_schedule_that_the_earlier_version_cannot_run_refuses_the_whole_rollback(playground: Playground) -> None:
    older = diamond()
    older["interface"]["inputs"][0] = {"name": "m", "type": {"kind": "int"}, "required": True}
    older["steps"][-1]["inputs"] = {"x": {"input": "m"}}
    playground.register(older)
    newer = playground.register(diamond())
    made = {"name": "nightly", "workflow": "flow", "cron": "0 3 * * *", "inputs": {"n": 1}, "version": newer}
    assert playground.call("POST", "schedules", made).status == 201
    answer = playground.call("POST", "workflows/flow/rollback", {})
    assert answer.status == 422
    assert {problem["where"] for problem in answer.json["errors"]} == {
        "schedules.nightly.inputs.n",
        "schedules.nightly.inputs.m",
    }
    assert active(playground) == newer
    assert playground.get("schedules/nightly")["version"] == newer


def test_a_version_that_does_not_exist_names_the_nearest(three: tuple[Playground, list[str]]) -> None:
    playground, (first, *_) = three
    playground.call("POST", "versions", {"spec": diamond(), "label": "release-7"})
    for path, body in (("activate", {"version": "release-8"}), ("rollback", {"to": "release-8"})):
        answer = playground.call("POST", f"workflows/flow/{path}", body)
        assert answer.status == 404
        assert 'did you mean "release-7"?' in answer.json["message"]
    wrong = first[:11] + ("0" if first[11] != "0" else "1")
    assert f'did you mean "{first[:12]}"?' in playground.call("GET", f"workflows/flow/versions/{wrong}").json["message"]
    assert 'did you mean "flow"?' in playground.call("GET", "workflows/flwo").json["message"]


def bundle(playground: Playground, **files: str) -> str:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"{name}.py", text)
    return playground.store.put_blob(out.getvalue())


def test_a_diff_tells_code_interface_steps_options_and_packages(playground: Playground) -> None:
    old, new = diamond(environment=LOCK), diamond(environment=LOCK | {"packages": {"numpy": "2.2.0"}})
    old["bundle"] = bundle(playground, flow="RATE = 1\n", helper="pass\n")
    new["bundle"] = bundle(playground, flow="RATE = 2\n", helper="pass\n", extra="pass\n")
    new["tasks"]["a"] |= {"code_digest": "d" * 64, "timeout_seconds": 5.0}
    new["steps"].append(step("e", inputs={"x": {"step": "d", "output": "result"}}))
    new["tasks"]["e"] = task("e")
    text = {"type": "json", "digest": hashlib.sha256(b'"x"').hexdigest(), "size": 3, "inline": "x"}
    new["interface"]["inputs"].append({"name": "m", "type": {"kind": "str"}, "required": False, "default": text})
    first, second = playground.register(old), playground.register(new)
    found = playground.get(f"workflows/flow/versions/{first}/diff")
    assert VersionDiff().validate(found) == {}
    assert (found["from"], found["to"], found["identical"]) == (first, second, False)
    assert [(file["file"], file["change"]) for file in found["code"]] == [("extra.py", "added"), ("flow.py", "changed")]
    assert "-RATE = 1\n+RATE = 2" in found["code"][1]["diff"]
    assert [(change["side"], change["name"], change["change"]) for change in found["interface"]] == [
        ("input", "m", "added")
    ]
    assert [(change["name"], change["change"]) for change in found["steps"]] == [("e", "added")]
    changed = {change["name"]: [field["field"] for field in change["fields"]] for change in found["tasks"]}
    assert changed == {"a": ["code", "timeout_seconds"], "e": []}
    assert found["environment"] == [{"field": "numpy", "from": "2.1.0", "to": "2.2.0"}]
    assert playground.get(f"workflows/flow/versions/{second}/diff")["identical"]


def test_a_bundle_is_read_within_bounds_and_never_run(playground: Playground) -> None:
    old, new = diamond(), diamond()
    old["bundle"] = bundle(playground, flow="raise SystemExit\n", data="x" * 300_000)
    new["bundle"] = bundle(playground, flow="raise SystemExit\n", data="y" * 300_000)
    first = playground.register(old)
    playground.register(new)
    (file,) = playground.get(f"workflows/flow/versions/{first}/diff")["code"]
    assert file == {"file": "data.py", "change": "changed", "diff": ""}


def test_of_very_many_differences_the_first_are_told_and_the_others_counted(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version_diff, "MOST_DIFFS", 1)
    monkeypatch.setattr(version_diff, "MOST_CHANGES", 2)
    first = playground.register(diamond(bundle=bundle(playground, a="A = 1\n", b="B = 1\n")))
    other = diamond(bundle=bundle(playground, a="A = 2\n", b="B = 2\n"))
    for one in other["tasks"].values():
        one["code_digest"] = "f" * 64
    playground.register(other)
    found = playground.get(f"workflows/flow/versions/{first}/diff")
    assert [(one["file"], bool(one["diff"])) for one in found["code"]] == [("a.py", True), ("b.py", False)]
    assert (len(found["tasks"]), found["left_out"]) == (2, 2)


def test_single_tasks_are_listed_and_searched(playground: Playground) -> None:
    alone = spec(
        [task("a")],
        [step("a", inputs={"x": {"input": "n"}})],
        name="a",
        interface=diamond()["interface"],
        outputs={"result": {"step": "a", "output": "result"}},
    )
    playground.register(alone)
    playground.register(diamond())
    assert [one["name"] for one in playground.get("workflows", kind="task")["items"]] == ["a"]
    assert [one["name"] for one in playground.get("workflows", search="LO")["items"]] == ["flow"]
    assert playground.call("GET", "workflows?kind=odd").status == 422
