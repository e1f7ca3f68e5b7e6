"""Sharing: who may use a workflow of another project, and who may not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.api.shares import SharedDocument, ShareDocument
from app.api.workflows import WholeWorkflow
from app.db import db
from app.models import Audit
from app.services.schedule_fire import fire_due
from tests.fixtures.playground import Answer, Playground
from tests.integration.app.web.test_pages import browse
from tests.unit.app.specs import diamond


class Two:
    """`default` has workflows; somebody who is editor of `other`, and nothing else, would like to use them."""

    def __init__(self, playground: Playground) -> None:
        self.playground = playground
        playground.new_project("other")
        self.version = playground.register(diamond())
        playground.register(diamond(name="flow2"))
        self.headers = {"Authorization": f"Bearer {playground.token('editor', 'other')}"}

    def share(self, method: str = "PUT", **body: Any) -> Answer:
        if method == "DELETE":
            path = "shares?" + "&".join(f"{name}={value}" for name, value in body.items())
            return self.playground.call("DELETE", path)
        return self.playground.call(method, "shares", body)

    def other(self, method: str, path: str, body: Any = None) -> Answer:
        return self.playground.call(method, f"/api/v1/projects/other/{path}", body, **self.headers)

    def launch(self, workflow: str = "default/flow", **more: Any) -> Answer:
        return self.other("POST", "runs", {"workflow": workflow, "inputs": {"n": 1}} | more)

    def shared(self) -> list[str]:
        return [f"{one['project']}/{one['name']}" for one in self.other("GET", "shared").json["items"]]


@pytest.fixture
def two(playground: Playground) -> Two:
    return Two(playground)


def test_what_is_not_shared_is_not_there(two: Two) -> None:
    assert two.shared() == []
    for answer in (two.launch(), two.other("GET", "shared/default/flow"), two.launch("default/none")):
        assert answer.status == 404
        assert 'is shared with project "other"' in answer.json["message"]
    assert two.playground.call("GET", "/api/v1/projects/default/workflows/flow", **two.headers).status == 404


def test_a_shared_workflow_is_listed_shown_and_launched_and_its_run_is_the_callers(two: Two) -> None:
    answer = two.share(**{"with": "other", "workflow": "flow"})
    assert (answer.status, ShareDocument().validate(answer.json)) == (200, {})
    assert two.shared() == ["default/flow"]
    assert SharedDocument().validate(two.other("GET", "shared").json["items"][0]) == {}
    shown = two.other("GET", "shared/default/flow")
    assert (shown.status, WholeWorkflow().validate(shown.json)) == (200, {})
    run = two.launch(version=two.version[:8])
    assert run.status == 201, run.text
    assert (run.json["project"], run.json["workflow"], run.json["version"]) == ("other", "default/flow", two.version)
    assert two.playground.get("runs")["items"] == []
    assert two.launch("default/flow2").status == 404
    wrong = two.launch("default/flwo")
    assert 'did you mean "default/flow"?' in wrong.json["message"]


def test_a_run_of_a_shared_workflow_is_shown_without_links_that_lead_nowhere(two: Two) -> None:
    two.share(**{"with": "other", "workflow": "flow"})
    run = two.launch().json["run_id"]
    page = browse(two.playground, f"/projects/other/runs/{run}")
    assert "default/flow" in page
    assert "workflows/default" not in page
    assert "workflows/default" not in browse(two.playground, "/projects/other/runs")
    graph = two.other("GET", f"runs/{run}/graph")
    assert len(graph.json["nodes"]) == 4


def test_a_whole_project_is_shared_with_what_comes_later(two: Two) -> None:
    two.share(**{"with": "other"})
    two.playground.register(diamond(name="flow3"))
    assert two.shared() == ["default/flow", "default/flow2", "default/flow3"]
    assert two.launch("default/flow3").status == 201


def test_what_is_shared_may_be_referred_to(two: Two) -> None:
    spec = diamond(name="mine")
    spec["tasks"] = {}
    spec["steps"] = [{"path": "sub", "reference": "default/flow", "inputs": {"n": {"input": "n"}}, "after": []}]
    spec["outputs"] = {"result": {"step": "sub", "output": "result"}}
    refused = two.other("POST", "versions", {"spec": spec})
    assert refused.status == 422
    assert 'is shared with project "other"' in refused.json["message"]
    two.share(**{"with": "other", "workflow": "flow"})
    made = two.other("POST", "versions", {"spec": spec})
    assert made.status == 201, made.text
    two.share("DELETE", **{"with": "other", "workflow": "flow"})
    assert two.launch("mine").status == 201, "a version keeps what it was linked to"


def test_sharing_ends_and_is_told_in_the_audit(two: Two) -> None:
    for _ in range(2):
        two.share(**{"with": "other", "workflow": "flow"})
    assert len(two.playground.get("shares")["items"]) == 1
    assert two.share("DELETE", **{"with": "other"}).status == 404
    assert two.share("DELETE", **{"with": "other", "workflow": "flow"}).status == 204
    assert two.launch().status == 404
    with two.playground.app.app_context():
        actions = [row.action for row in db.session.query(Audit).order_by(Audit.id)]
    assert [action for action in actions if "share" in action] == ["project.share", "project.unshare"]


def test_only_an_owner_shares_and_only_what_there_is(two: Two) -> None:
    editor = {"Authorization": f"Bearer {two.playground.token('editor')}"}
    body = {"with": "other", "workflow": "flow"}
    assert two.playground.call("PUT", "shares", body, **editor).status == 403
    assert two.playground.call("DELETE", "shares?with=other", **editor).status == 403
    assert two.share(**{"with": "nowhere"}).status == 404
    assert two.share(**{"with": "default"}).status == 422
    assert 'did you mean "flow' in two.share(**{"with": "other", "workflow": "flwo"}).json["message"]
    viewer = {"Authorization": f"Bearer {two.playground.token('viewer', 'other')}"}
    two.share(**body)
    launch = {"workflow": "default/flow", "inputs": {"n": 1}}
    assert two.playground.call("POST", "/api/v1/projects/other/runs", launch, **viewer).status == 403


def test_a_shared_workflow_runs_by_the_clock_until_it_is_shared_no_more(two: Two) -> None:
    nightly = {"name": "nightly", "workflow": "default/flow", "cron": "0 3 * * *", "inputs": {"n": 1}}
    assert two.other("POST", "schedules", nightly).status == 404
    two.share(**{"with": "other", "workflow": "flow"})
    made = two.other("POST", "schedules", nightly)
    assert (made.status, made.json["workflow"]) == (201, "default/flow"), made.text
    fire(two, days=1)
    (run,) = two.other("GET", "runs").json["items"]
    assert (run["project"], run["workflow"]) == ("other", "default/flow")
    two.share("DELETE", **{"with": "other", "workflow": "flow"})
    fire(two, days=2)
    shown = two.other("GET", "schedules/nightly").json
    assert 'is shared with project "other"' in shown["last_error"]
    assert len(two.other("GET", "runs").json["items"]) == 1


def test_a_rollback_leaves_the_schedules_of_others_alone_and_does_not_name_them(two: Two) -> None:
    two.share(**{"with": "other", "workflow": "flow"})
    changed = diamond()
    changed["tasks"]["b"] |= {"code_digest": "f" * 64}
    second = two.playground.register(changed)
    pinned = {"name": "theirs", "workflow": "default/flow", "version": second, "cron": "0 3 * * *", "inputs": {"n": 1}}
    assert two.other("POST", "schedules", pinned).status == 201
    done = two.playground.call("POST", "workflows/flow/rollback", {})
    assert (done.status, done.json["schedules"]) == (200, [])
    assert two.other("GET", "schedules/theirs").json["version"] == second


def fire(two: Two, days: int) -> None:
    with two.playground.app.app_context():
        fire_due(db.session, two.playground.config, datetime.now(UTC) + timedelta(days=days))
        db.session.remove()
