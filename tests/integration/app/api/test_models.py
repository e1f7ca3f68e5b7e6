"""Named models: versions with the metrics of their runs, and aliases that move, wait for approval, and go back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from app.access import Principal
from app.db import db
from app.models import Audit, Project
from app.services.alias_move import decide_move, move_alias, roll_back_alias
from app.services.model_query import OF_VALUE_SHOWN
from celesta.errors import AccessError, ConflictError
from tests.fixtures.playground import Answer, Playground
from tests.unit.app.specs import diamond


def trained(flow: Playground, accuracy: float) -> str:
    """A run whose step b made the model, which d measured."""
    run = flow.launch(inputs={"n": 1})
    flow.start(run)
    for node, path in (("3", "a"), ("1", "b"), ("2", "c")):
        value = f"model {accuracy}" if path == "b" else 5
        logged = [{"name": "noise", "value": 9.0, "step": None, "at_ms": 1}] if path == "c" else []
        flow.settle(run, node, path, outputs={"result": value}, metrics=logged)
    measured = [{"name": "accuracy", "value": number, "step": None, "at_ms": 1} for number in (0.1, accuracy)]
    flow.settle(run, "0", "d", outputs={"result": f"model {accuracy}"}, metrics=measured)
    flow.finish(run, outputs={"result": f"model {accuracy}"})
    return run


def artifact(flow: Playground, run: str, path: str = "b") -> int:
    return next(item["id"] for item in flow.get("artifacts", run=run)["items"] if item["path"] == path)


def register(flow: Playground, accuracy: float, **more: Any) -> Any:
    found = artifact(flow, trained(flow, accuracy))
    answer = flow.call("POST", "models/digits/versions", {"artifact": found} | more)
    assert answer.status in (200, 201), answer.text
    return answer.json


def move(flow: Playground, version: object, alias: str = "production") -> Answer:
    return flow.call("PUT", f"models/digits/aliases/{alias}", {"version": str(version)})


def roll_back(flow: Playground, alias: str = "production") -> Answer:
    return flow.call("POST", f"models/digits/aliases/{alias}/rollback", {})


def test_a_version_has_the_metrics_that_the_run_measured_of_it(flow: Playground) -> None:
    version = register(flow, 0.9, notes="first try", metrics={"by_hand": 1.5})
    assert (version["number"], version["notes"], version["path"]) == (1, "first try", "b")
    assert version["metrics"] == {"d.accuracy": 0.9, "by_hand": 1.5}
    assert register(flow, 0.8)["number"] == 2
    listed = flow.get("models/digits/versions")["items"]
    assert [item["number"] for item in listed] == [2, 1]
    assert flow.get("models")["items"][0]["versions"] == 2


def test_the_same_artifact_is_registered_once(flow: Playground) -> None:
    found = artifact(flow, trained(flow, 0.9))
    answers = [flow.call("POST", "models/digits/versions", {"artifact": found}) for _ in range(2)]
    assert [answer.status for answer in answers] == [201, 200]
    assert {answer.json["number"] for answer in answers} == {1}


def test_an_output_of_a_run_is_registered_by_name(flow: Playground) -> None:
    run = trained(flow, 0.9)
    version = flow.call("POST", "models/digits/versions", {"run": run, "output": "result"}).json
    assert (version["run_id"], version["preview"]) == (run, '"model 0.9"')
    wrong = flow.call("POST", "models/digits/versions", {"run": run, "output": "nothing"})
    assert wrong.status == 422
    assert "there are: result" in wrong.text
    assert flow.call("POST", "models/digits/versions", {}).status == 422
    assert flow.call("POST", "models/bad%20name/versions", {"run": run}).status == 422


def test_an_alias_is_moved_and_goes_back_one_version_at_a_time(flow: Playground) -> None:
    for accuracy in (0.7, 0.8, 0.9):
        register(flow, accuracy)
    for version in (1, 2, 3):
        assert move(flow, version).json["state"] == "done"
    first = roll_back(flow).json
    assert (first["from"], first["to"], first["action"]) == (3, 2, "rollback")
    assert [(m["before"], m["after"]) for m in first["metrics"]] == [(0.9, 0.8)]
    assert first["metrics"][0]["change"] == pytest.approx(-0.1)
    assert roll_back(flow).json["to"] == 1
    assert flow.get("models/digits")["aliases"] == {"production": 1}
    end = roll_back(flow)
    assert end.status == 409
    assert "nothing to go back to" in end.text


def test_a_version_is_named_by_its_number_or_by_an_alias(flow: Playground) -> None:
    register(flow, 0.7)
    register(flow, 0.8)
    move(flow, "v2")
    assert flow.get("models/digits/versions/production")["number"] == 2
    assert flow.get("models/digits/versions/v1")["number"] == 1
    assert move(flow, "production", alias="staging").json["to"] == 2
    assert flow.get("models/digits/versions/2")["aliases"] == ["production", "staging"]


def test_what_is_not_there_names_the_nearest(flow: Playground) -> None:
    register(flow, 0.7)
    move(flow, 1)
    for path, told in {
        "models/digit": 'did you mean \\"digits\\"?',
        "models/digits/versions/prodution": 'did you mean \\"production\\"?',
        "models/digits/versions/7": "its newest is 1",
    }.items():
        answer = flow.call("GET", path)
        assert answer.status == 404
        assert told in answer.text
    assert 'did you mean \\"production\\"?' in roll_back(flow, "producton").text
    assert move(flow, 7).status == 404
    assert move(flow, 1, alias="v3").status == 422


def test_a_move_to_where_it_points_changes_nothing(flow: Playground) -> None:
    register(flow, 0.7)
    first, again = move(flow, 1).json, move(flow, 1).json
    assert (first["id"], first["made"]) == (again["id"], True)
    assert again["made"] is False, "and says so"
    assert len(flow.get("models/digits")["moves"]) == 1


def test_a_guarded_alias_moves_when_an_owner_approves(flow: Playground) -> None:
    register(flow, 0.7)
    register(flow, 0.8)
    move(flow, 1)
    assert flow.call("PUT", "guarded-aliases/production", {"guarded": True}).json["items"] == ["production"]
    asked = move(flow, 2)
    assert (asked.status, asked.json["state"], asked.json["from"]) == (202, "pending", 1)
    assert flow.get("models/digits")["aliases"] == {"production": 1}
    assert [item["id"] for item in flow.get("models/digits")["pending"]] == [asked.json["id"]]
    again = move(flow, 2)
    assert again.status == 409
    assert "approve digits" in again.text
    decided = flow.call("POST", f"models/digits/moves/{asked.json['id']}", {"approve": True})
    assert (decided.status, decided.json["state"]) == (200, "done")
    assert flow.get("models/digits")["aliases"] == {"production": 2}
    assert flow.call("POST", f"models/digits/moves/{asked.json['id']}", {"approve": False}).status == 409
    assert flow.call("POST", "models/digits/moves/99", {"approve": True}).status == 404
    assert roll_back(flow).json["state"] == "done"
    flow.call("PUT", "guarded-aliases/production", {"guarded": False})
    assert move(flow, 2).json["state"] == "done"


def test_a_refused_move_leaves_the_alias_where_it_is(flow: Playground) -> None:
    register(flow, 0.7)
    flow.call("PUT", "guarded-aliases/production", {"guarded": True})
    asked = move(flow, 1).json
    assert flow.call("POST", f"models/digits/moves/{asked['id']}", {"approve": False}).json["state"] == "refused"
    assert flow.get("models/digits")["aliases"] == {}
    assert move(flow, 1).status == 202


@pytest.fixture
def people(flow: Playground) -> Iterator[tuple[Project, dict[str, Principal]]]:
    register(flow, 0.7)
    register(flow, 0.8)
    move(flow, 1)
    move(flow, 2)
    flow.call("PUT", "guarded-aliases/production", {"guarded": True})
    with flow.app.app_context():
        project = db.session.query(Project).filter_by(name="default").one()
        yield project, {role: Principal(name=role, roles={project.id: role}) for role in ("viewer", "editor", "owner")}


def test_an_editor_asks_and_cannot_approve(people: tuple[Project, dict[str, Principal]]) -> None:
    project, who = people
    with pytest.raises(AccessError):
        move_alias(db.session, who["viewer"], project, "digits", "production", "1")
    asked = move_alias(db.session, who["editor"], project, "digits", "production", "1").move
    with pytest.raises(AccessError):
        decide_move(db.session, who["editor"], project, "digits", asked.id, True)
    assert decide_move(db.session, who["owner"], project, "digits", asked.id, True).decided_by == "owner"


def test_a_rollback_by_an_editor_waits_and_one_by_an_owner_does_not(
    people: tuple[Project, dict[str, Principal]],
) -> None:
    project, who = people
    waiting = roll_back_alias(db.session, who["editor"], project, "digits", "production")
    assert waiting.state == "pending"
    done = roll_back_alias(db.session, who["owner"], project, "digits", "production")
    assert (done.state, done.version.number) == ("done", 1)
    with pytest.raises(ConflictError, match="refused already"):
        decide_move(db.session, who["owner"], project, "digits", waiting.id, True)


def test_an_editor_does_not_end_what_an_owner_is_to_decide_by_asking_for_a_rollback(
    people: tuple[Project, dict[str, Principal]],
) -> None:
    project, who = people
    asked = move_alias(db.session, who["owner"], project, "digits", "production", "1").move
    assert asked.state == "pending"
    with pytest.raises(ConflictError, match=f"an owner decides: celesta models approve digits {asked.id}, or refuse"):
        roll_back_alias(db.session, who["editor"], project, "digits", "production")
    assert decide_move(db.session, who["owner"], project, "digits", asked.id, True).state == "done"


def test_every_move_is_audited(people: tuple[Project, dict[str, Principal]]) -> None:
    project, who = people
    asked = move_alias(db.session, who["editor"], project, "digits", "production", "1", "a bug").move
    decide_move(db.session, who["owner"], project, "digits", asked.id, True)
    rows = db.session.query(Audit).filter(Audit.action.like("model.%")).order_by(Audit.id)
    assert [(row.action, row.object, row.principal) for row in rows][-2:] == [
        ("model.ask", "digits@production", "editor"),
        ("model.approve", "digits@production", "owner"),
    ]


def test_a_model_takes_the_same_statements_however_often_its_aliases_moved(
    flow: Playground, statements: list[str]
) -> None:
    for accuracy in (0.7, 0.8):
        register(flow, accuracy)
    move(flow, 1)
    asked = {}
    for path in ("models/digits", "/projects/default/models/digits"):
        flow.call("GET", path)
        statements.clear()
        flow.call("GET", path)
        asked[path] = len(statements)
    for number in range(6):
        assert move(flow, 2 - number % 2).json["made"]
    flow.call("PUT", "guarded-aliases/production", {"guarded": True})
    assert move(flow, 2).json["state"] == "pending"
    for path, before in asked.items():
        statements.clear()
        assert flow.call("GET", path).status == 200
        assert len(statements) == before
    shown = flow.get("models/digits")
    assert [(moved["from"], moved["to"]) for moved in shown["moves"][:3]] == [(1, 2), (2, 1), (1, 2)]
    assert [(moved["from"], moved["to"]) for moved in shown["pending"]] == [(1, 2)]
    assert (shown["moves"][-1]["from"], shown["moves"][-1]["to"]) == (None, 1)


def test_a_value_that_is_many_models_takes_the_same_statements_and_tells_the_newest(
    flow: Playground, statements: list[str]
) -> None:
    found = artifact(flow, trained(flow, 0.7))
    digest = flow.get(f"artifacts/{found}")["digest"]
    told = []
    for number in range(OF_VALUE_SHOWN + 1):
        flow.call("POST", f"models/m{number:02}/versions", {"artifact": found})
        if number in (1, OF_VALUE_SHOWN):
            statements.clear()
            (made, *_) = flow.get("artifacts/find", digest=digest)["items"]
            told.append((len(statements), [model["model"] for model in made["models"]]))
    (few, first), (many, last) = told
    assert few == many
    assert first == ["m00", "m01"]
    assert last == [f"m{number:02}" for number in range(1, OF_VALUE_SHOWN + 1)]


def test_a_file_that_is_a_model_says_so(flow: Playground) -> None:
    digest = flow.store.put_blob(b"weights")
    ref = {"type": "file", "digest": digest, "size": 7, "blob": digest, "name": "m.pkl"}
    run = flow.launch(inputs={"n": 1})
    flow.start(run)
    told = {"node": "1", "path": "b", "token": "1.1", "attempt": 1, "state": "succeeded"}
    flow.tell(run, "step.settled", **told, outcome={"status": "succeeded", "outputs": {"result": ref}})
    flow.call("POST", "models/digits/versions", {"artifact": artifact(flow, run)})
    move(flow, 1)
    (found,) = flow.get("artifacts/find", digest=digest)["items"]
    assert found["models"] == [{"model": "digits", "number": 1, "aliases": ["production"]}]


def test_a_workflow_goes_back_with_an_alias_all_or_nothing(flow: Playground) -> None:
    register(flow, 0.7)
    register(flow, 0.8)
    changed = diamond()
    changed["tasks"]["b"]["code_digest"] = "f" * 64
    first = flow.get("workflows/flow")["version"]
    flow.register(changed)
    asked = {"aliases": [{"model": "digits", "alias": "production"}]}
    refused = flow.call("POST", "workflows/flow/rollback", asked)
    assert refused.status == 404
    assert flow.get("workflows/flow")["version"] != first
    move(flow, 1)
    move(flow, 2)
    done = flow.call("POST", "workflows/flow/rollback", asked)
    assert done.status == 200, done.text
    assert [(one["model"], one["alias"], one["from"], one["to"]) for one in done.json["aliases"]] == [
        ("digits", "production", 2, 1)
    ]
    assert flow.get("workflows/flow")["version"] == first
    assert flow.get("models/digits")["aliases"] == {"production": 1}


def send(flow: Playground, path: str, **fields: str) -> Answer:
    page = flow.call("GET", "/projects/default/models/digits")
    token = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert token
    cookie = page.headers["set-cookie"].partition(";")[0]
    body = urlencode({"csrf_token": token.group(1)} | fields).encode()
    kind = "application/x-www-form-urlencoded"
    return flow.call("POST", f"/projects/default/models/digits/{path}", data=body, Content_Type=kind, Cookie=cookie)


def test_the_page_moves_approves_and_rolls_back(flow: Playground) -> None:
    assert "models register" in flow.call("GET", "/projects/default/models").text
    register(flow, 0.7, notes="<b>bold</b>")
    register(flow, 0.8)
    for version in "12":
        assert send(flow, "alias", alias="production", version=version).status == 303
    assert send(flow, "rollback", alias="production").status == 303
    assert flow.get("models/digits")["aliases"] == {"production": 1}
    flow.call("PUT", "guarded-aliases/production", {"guarded": True})
    send(flow, "alias", alias="production", version="2", note="better")
    page = flow.call("GET", "/projects/default/models/digits").text
    assert "asks to move" in page
    assert "+0.1" in page
    assert "<b>bold" not in page
    (pending,) = flow.get("models/digits")["pending"]
    assert send(flow, f"moves/{pending['id']}", decision="approve").status == 303
    assert flow.get("models/digits")["aliases"] == {"production": 2}
    assert "production → 2" in flow.call("GET", "/projects/default/models").text
