"""Limits and weights of projects: set by whom it may, refused where they make no sense, asked for at a launch."""

from __future__ import annotations

from app.db import db
from app.services.member_set import set_member
from app.services.token_issue import issue_token
from tests.fixtures.playground import OPERATOR, Playground
from tests.unit.app.specs import spec, step, task


def _owner(playground: Playground) -> dict[str, str]:
    with playground.app.app_context():
        project = playground._project("default")
        set_member(db.session, OPERATOR, project, "ada", "owner")
        return {"Authorization": f"Bearer {issue_token(db.session, OPERATOR, project, 'ada', 'owner')[1]}"}


def test_a_limit_is_set_listed_and_removed(playground: Playground) -> None:
    owner = _owner(playground)
    assert playground.call("PUT", "limits/gpu", {"places": 4}, **owner).status == 200
    assert playground.get("limits")["items"] == [{"name": "gpu", "places": 4}]
    assert playground.call("DELETE", "limits/gpu", **owner).status == 204
    missing = playground.call("DELETE", "limits/gpu", **owner)
    assert (missing.status, "limits are: none" in missing.text) == (404, True)


def test_what_makes_no_sense_is_refused_at_once(playground: Playground) -> None:
    answer = playground.call("PUT", "limits/G%20PU", {"places": -1})
    assert answer.status == 422
    assert {"name", "places"} <= {line.split(":")[0] for line in str(answer.json["errors"]).replace("{", "").split("'")}


def test_a_run_that_names_a_limit_that_is_not_set_is_refused_and_told_how(playground: Playground) -> None:
    playground.register(spec([task("a", (), limits=["gpu"])], [step("a")]))
    refused = playground.call("POST", "runs", {"workflow": "flow"})
    assert refused.status == 422
    assert "celesta projects limits set gpu PLACES" in refused.text
    playground.call("PUT", "limits/gpu", {"places": 1})
    assert playground.call("POST", "runs", {"workflow": "flow"}).status == 201


def test_only_the_operator_says_how_projects_share(playground: Playground) -> None:
    assert playground.call("PUT", "weight", {"weight": 5}, **_owner(playground)).status == 403
    assert playground.call("PUT", "weight", {"weight": 0}).status == 422
    assert playground.call("PUT", "weight", {"weight": 5}).status == 200
    assert playground.get("weight") == {"weight": 5}


def test_priority_and_parallelism_of_a_run_are_checked(playground: Playground) -> None:
    playground.register(spec([task("a", ())], [step("a")]))
    wrong = playground.call("POST", "runs", {"workflow": "flow", "options": {"priority": 11, "max_parallel": 0}})
    assert wrong.status == 422
    assert "from -10 to 10" in wrong.text
    assert "from 1 to" in wrong.text
    given = playground.call("POST", "runs", {"workflow": "flow", "options": {"priority": 3, "max_parallel": 2}})
    assert (given.json["options"]["priority"], given.json["options"]["max_parallel"]) == (3, 2)
