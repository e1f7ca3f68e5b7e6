"""Pages that repeat and control runs: what they offer, what they show before, and what they launch."""

import re
from typing import Any
from urllib.parse import urlencode

from tests.fixtures.playground import Playground


def page(flow: Playground, path: str) -> str:
    answer = flow.call("GET", f"/projects/default/runs/{path}")
    assert answer.status == 200, answer.text
    return answer.text


def post(flow: Playground, path: str, form: list[tuple[str, str]]) -> Any:
    """Sends a form with the token and the cookie of a page."""
    shown = flow.call("GET", "/projects/default/workflows/flow")
    found = re.search(r'name="csrf_token" value="([^"]+)"', shown.text)
    assert found is not None
    data = urlencode([("csrf_token", found.group(1)), *form]).encode()
    cookie = shown.headers.get("set-cookie", "").partition(";")[0]
    kind = "application/x-www-form-urlencoded"
    return flow.call("POST", f"/projects/default/runs/{path}", data=data, Content_Type=kind, Cookie=cookie)


def test_a_failed_run_names_its_first_failure_with_what_it_was_given(flow: Playground, failed: str) -> None:
    shown = page(flow, failed)
    assert "ValueError: no luck" in shown
    assert re.search(r"It was given x = <code>5</code>", shown)
    error = flow.get(f"runs/{failed}")["error"]
    assert (error["node"], error["inputs"]["x"]["preview"], error["log_bytes"]) == ("2", "5", 0)


def test_a_run_offers_what_its_state_allows(flow: Playground, failed: str) -> None:
    shown = page(flow, failed)
    assert "Recover…" in shown
    assert "Pause" not in shown
    run = flow.launch(inputs={"n": 3})
    assert "Rerun…" not in page(flow, run)
    assert post(flow, f"{run}/pause", []).status == 303
    shown = page(flow, run)
    assert "paused: no step starts" in shown
    assert "Resume" in shown
    assert post(flow, f"{run}/resume", []).status == 303
    assert "paused: no step starts" not in page(flow, run)


def test_a_recovery_is_shown_and_then_launched(flow: Playground, failed: str) -> None:
    shown = page(flow, f"{failed}/recover")
    assert "2 would run, 2 would be taken over" in shown
    answer = post(flow, f"{failed}/recover", [("do", "launch"), ("idempotency_key", "k")])
    assert answer.status == 303
    made = answer.headers["location"].rpartition("/")[2]
    assert flow.get(f"runs/{made}")["origin"] == {"run_id": failed, "kind": "recover"}
    assert "Recover of" in page(flow, made)


def test_a_rerun_is_shown_again_with_what_was_chosen(flow: Playground, failed: str) -> None:
    assert "Rerun from here…" in page(flow, f"{failed}/steps/2")
    shown = page(flow, f"{failed}/rerun?from=b")
    assert re.search(r'value="b"[^>]* checked', shown)
    changed = [("input:n", "4"), ("do", "preview")]
    shown = post(flow, f"{failed}/rerun", changed)
    assert shown.status == 200
    assert "it takes what is changed: n" in shown.text
    wrong = post(flow, f"{failed}/rerun", [("input:n", "four"), ("do", "launch")])
    assert wrong.status in (200, 422)
    assert len(flow.get("runs")["items"]) == 1
    answer = post(flow, f"{failed}/rerun", [("input:n", "4"), ("from", "c"), ("do", "launch")])
    assert answer.status == 303
    made = flow.get(f"runs/{answer.headers['location'].rpartition('/')[2]}")
    assert made["inputs"] == {"n": 4}
    assert made["options"]["again"] == ["c"]
