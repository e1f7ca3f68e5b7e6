"""Schedules through the REST interface."""

from __future__ import annotations

from app.api.schedules import ScheduleDocument
from tests.fixtures.playground import Playground

NIGHTLY = {"name": "nightly", "workflow": "flow", "cron": "0 3 * * *", "inputs": {"n": 1}}


def test_a_schedule_is_made_shown_and_ended(flow: Playground) -> None:
    answer = flow.call("POST", "schedules", NIGHTLY)
    assert answer.status == 201, answer.text
    assert ScheduleDocument().validate(answer.json) == {}
    assert answer.json["next_fire_at"] is not None
    assert answer.json["version"] is None
    assert flow.get("schedules")["items"] == [flow.get("schedules/nightly")]
    assert flow.call("POST", "schedules", NIGHTLY).status == 409
    assert flow.call("DELETE", "schedules/nightly").status == 204
    assert flow.call("GET", "schedules/nightly").status == 404


def test_all_problems_of_a_schedule_come_at_once(flow: Playground) -> None:
    wrong = NIGHTLY | {"name": "../x", "cron": "61 * * * *", "timezone": "Mars/Base", "inputs": {"n": "x"}}
    answer = flow.call("POST", "schedules", wrong)
    assert answer.status == 422
    assert {problem["where"] for problem in answer.json["errors"]} >= {"name", "cron", "timezone", "inputs.n"}
