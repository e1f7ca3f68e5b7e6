"""Pages as a browser without scripts gets them: whole, safe, and the same size whatever the size of the run."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from app.web.runs import RUNS_SHOWN
from tests.fixtures.playground import Answer, Playground
from tests.unit.app.specs import diamond, question, spec, step, task, wide

PROJECT = "/projects/default"


@pytest.fixture
def flow(playground: Playground) -> Playground:
    playground.register(diamond(doc="Four steps."))
    return playground


@pytest.fixture
def run(flow: Playground) -> str:
    run = flow.launch(inputs={"n": 3})
    flow.start(run)
    error = {"type": "ValueError", "message": "<b>odd</b>", "kind": "user", "traceback": "Traceback…\nValueError"}
    error["events"] = ["2026-01-01T12:00:00 Warning Evicted: <i>low on disk</i>"]
    flow.settle(run, "3", "a", "failed", error=error, log="<i>printed</i>\n")
    for node, path in (("1", "b"), ("2", "c"), ("0", "d")):
        flow.settle(run, node, path, "upstream_failed")
    flow.finish(run, "failed", {"path": "a"} | error, failed=1, skipped=3)
    return run


def browse(playground: Playground, path: str) -> str:
    answer = playground.call("GET", path)
    assert answer.status == 200, answer.text
    return answer.text


class Form:
    """A form of a page, with the cookie that came with it."""

    def __init__(self, playground: Playground, path: str) -> None:
        self.playground = playground
        self.answer = playground.call("GET", path)
        found = re.search(r'name="csrf_token" value="([^"]+)"', self.answer.text)
        self.token = found.group(1) if found else ""
        self.cookie = self.answer.headers.get("set-cookie", "").partition(";")[0]

    def send(self, path: str, **fields: str) -> Answer:
        body = urlencode({"csrf_token": self.token} | {name.replace("__", ":"): text for name, text in fields.items()})
        kind = "application/x-www-form-urlencoded"
        return self.playground.call("POST", path, data=body.encode(), Content_Type=kind, Cookie=self.cookie)


def test_the_first_page_is_the_default_projects_runs(flow: Playground) -> None:
    assert flow.call("GET", "/").headers["location"] == f"{PROJECT}/runs"
    assert flow.call("GET", PROJECT).headers["location"] == f"{PROJECT}/runs"
    assert "default" in browse(flow, "/projects")


def test_an_empty_project_says_what_to_do_next(flow: Playground) -> None:
    flow.new_project("fresh")
    assert "celesta run" in browse(flow, "/projects/fresh/runs")
    assert "celesta register" in browse(flow, "/projects/fresh/workflows")
    assert "No run fits" in browse(flow, f"{PROJECT}/runs?status=failed")


def test_every_page_refuses_what_a_browser_should_not_do(flow: Playground, run: str) -> None:
    for path in ("runs", f"runs/{run}", f"runs/{run}/steps/3", "workflows", "workflows/flow"):
        headers = flow.call("GET", f"{PROJECT}/{path}").headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"


def test_no_page_holds_a_script_or_a_style_of_its_own(flow: Playground, run: str) -> None:
    for path in ("runs", f"runs/{run}", f"runs/{run}/steps/3", "workflows", "workflows/flow"):
        page = browse(flow, f"{PROJECT}/{path}")
        assert not re.search(r"<script(?![^>]*\bsrc=)|\sstyle=|\son\w+=|<style", page), path
        assert not re.search(r"""(?:src|href)="(?:https?:)?//""", page), path


def test_what_users_wrote_is_text_and_never_markup(flow: Playground, run: str) -> None:
    page = browse(flow, f"{PROJECT}/runs/{run}/steps/3")
    assert "&lt;b&gt;odd" in page
    assert "&lt;i&gt;printed" in page
    assert "<b>odd" not in page


def test_a_failed_run_names_its_step_and_colours_the_graph(flow: Playground, run: str) -> None:
    page = browse(flow, f"{PROJECT}/runs/{run}")
    assert 'data-node="3" data-state="failed"' in page
    assert 'data-node="0" data-state="upstream_failed"' in page
    assert "Step <a" in page
    assert 'aria-label="a: failed"' in page


def test_steps_are_filtered_and_paged_on_the_page(flow: Playground, run: str) -> None:
    page = browse(flow, f"{PROJECT}/runs/{run}?state=failed")
    assert 'data-node="3"' in page.split('id="steps"')[1]
    assert 'data-node="1"' not in page.split('id="steps"')[1]


def test_a_page_leads_on_whatever_its_address_asks_besides(flow: Playground, run: str) -> None:
    """Some words of a query are words of the function that makes addresses."""
    asked = "_method=FOO&endpoint=x&_external=1&run=other&project=other&_anchor=a&note=1&note=2"
    for _ in range(RUNS_SHOWN + 1):
        flow.launch(inputs={"n": 1})
    for path in (f"{PROJECT}/runs?{asked}", f"{PROJECT}/compare?run={run}&{asked.replace('run=other', f'run={run}')}"):
        browse(flow, path)
    following = re.search(r'href="([^"]*cursor=[^"]*)"', browse(flow, f"{PROJECT}/runs?{asked}"))
    assert following is not None
    address = urlsplit(unescape(following.group(1)))
    assert address.path == f"{PROJECT}/runs"
    assert parse_qs(address.query)["note"] == ["1", "2"]
    assert 'rel="first"' in browse(flow, f"{address.path}?{address.query}")


def test_a_page_of_a_run_of_ten_thousand_steps_is_no_larger_than_its_table(flow: Playground) -> None:
    flow.register(wide(10_000))
    run = flow.launch()
    flow.start(run, 10_000)
    flow.settle(run, "1", "work#2", "cached")
    page = browse(flow, f"{PROJECT}/runs/{run}")
    assert 'data-states="wcw' in page
    assert len(page) < 150_000
    assert "data-canvas" in page
    following = re.search(r'href="([^"]+)" rel="next">More steps', page)
    assert following
    assert "work#150" in browse(flow, following.group(1).replace("&amp;", "&").partition("#")[0])


def test_a_graph_of_few_steps_is_a_drawing_that_needs_no_script(flow: Playground) -> None:
    page = browse(flow, f"{PROJECT}/workflows/flow")
    assert page.count('class="edge"') == 4
    assert "Four steps." in page


def test_a_form_launches_once_however_often_it_is_sent(flow: Playground) -> None:
    form = Form(flow, f"{PROJECT}/workflows/flow")
    fields = {"input__n": "5", "idempotency_key": "once"}
    first, second = (form.send(f"{PROJECT}/workflows/flow/launch", **fields) for _ in range(2))
    assert first.status == 303, first.text
    assert first.headers["location"] == second.headers["location"]
    run = first.headers["location"].rpartition("/")[2]
    assert flow.get(f"runs/{run}")["inputs"] == {"n": 5}


def test_a_wrong_form_comes_back_with_the_mistake_beside_the_field(flow: Playground) -> None:
    form = Form(flow, f"{PROJECT}/workflows/flow")
    answer = form.send(f"{PROJECT}/workflows/flow/launch", input__n="many")
    assert answer.status == 422
    assert 'value="many"' in answer.text
    assert re.search(r'class="wrong" id="input-1-wrong">wants a whole number', answer.text)
    assert 'aria-invalid="true"' in answer.text
    assert flow.get("runs")["items"] == []


def test_a_form_that_we_did_not_make_is_refused(flow: Playground, run: str) -> None:
    form = Form(flow, f"{PROJECT}/workflows/flow")
    form.token = "guessed"
    assert form.send(f"{PROJECT}/workflows/flow/launch", input__n="5").status == 403
    form.cookie = ""
    assert form.send(f"{PROJECT}/runs/{run}/cancel").status == 403


def test_a_run_is_cancelled_from_its_page(flow: Playground) -> None:
    run = flow.launch(inputs={"n": 3})
    form = Form(flow, f"{PROJECT}/runs/{run}")
    assert form.send(f"{PROJECT}/runs/{run}/cancel").status == 303
    assert "Cancelling…" in browse(flow, f"{PROJECT}/runs/{run}")


def test_running_again_starts_from_the_inputs_of_the_run(flow: Playground, run: str) -> None:
    page = browse(flow, f"{PROJECT}/workflows/flow?from_run={run}")
    assert re.search(r'name="input:n" type="number" value="3"', page)


def test_a_map_lists_its_items(flow: Playground) -> None:
    mapped = {"kind": "list", "items": {"kind": "int"}}
    spec = diamond()
    spec["name"] = "mapper"
    spec["interface"]["inputs"][0]["type"] = mapped
    spec["steps"] = [step("a", inputs={"x": {"input": "n"}}, map=["x"])]
    spec["tasks"] = {"a": task("a")}
    spec["interface"]["outputs"], spec["outputs"] = [], {}
    flow.register(spec)
    run = flow.launch("mapper", inputs={"n": [1, 2]})
    flow.start(run, 3)
    flow.tell(run, "map.opened", node="0", path="a", width=2, known=3)
    flow.settle(run, "0.0", "a[0]")
    page = browse(flow, f"{PROJECT}/runs/{run}?map=0")
    assert "1 of 2 items" in page
    assert "a[0]" in page


def test_an_artifact_page_shows_the_beginning_and_the_users(flow: Playground) -> None:
    run = flow.launch(inputs={"n": 3})
    flow.start(run)
    flow.settle(run, "3", "a", outputs={"result": {"deep": [1, 2]}})
    flow.settle(run, "1", "b", input_digests={"x": flow.encode({"deep": [1, 2]})["digest"]})
    (artifact,) = flow.get("artifacts", run=run)["items"]
    page = browse(flow, f"{PROJECT}/artifacts/{artifact['id']}")
    assert "&#34;deep&#34;" in page
    assert "/steps/1" in page


def test_static_files_are_kept_until_they_change(flow: Playground) -> None:
    page = browse(flow, f"{PROJECT}/runs")
    (address,) = re.findall(r'href="(/assets/[^"]+[.]css)"', page)
    assert "max-age=31536000" in flow.call("GET", address).headers["cache-control"]
    (script,) = re.findall(r'src="(/assets/[^"]+/page[.]js)"', page)
    assert script.split("/")[2] == address.split("/")[2]
    assert flow.call("GET", "/assets/x/../../app/config.py").status == 404


def test_a_question_is_answered_from_its_page(playground: Playground) -> None:
    asks, asked = question("limit", "wait_for", {"kind": "float"})
    playground.register(spec([asks], [asked]))
    run = playground.launch()
    playground.start(run, known=1)
    told = {
        "waits_for": "wait_for",
        "message": "<i>How much?</i>",
        "role": "editor",
        "type": {"kind": "float"},
        "until_ms": None,
    }
    playground.tell(run, "step.parked", node="0", path="limit", **told)
    assert "waits for a value" in browse(playground, f"{PROJECT}/runs/{run}")
    page = f"{PROJECT}/runs/{run}/steps/limit"
    form = Form(playground, page)
    assert "&lt;i&gt;How much?" in form.answer.text
    refused = form.send(f"{PROJECT}/runs/{run}/answers/limit", input__value="much")
    assert (refused.status, "is not a number" in refused.text or "a number" in refused.text) == (422, True)
    assert form.send(f"{PROJECT}/runs/{run}/answers/limit", input__value="0.5", note="<b>ok</b>").status == 303
    text = browse(playground, page)
    assert "&lt;b&gt;ok" in text
    assert ">0.5<" in text


def test_a_step_that_was_a_pod_shows_its_last_events(flow: Playground, run: str) -> None:
    page = browse(flow, f"{PROJECT}/runs/{run}/steps/3")
    assert "Last events of the pod" in page
    assert "Warning Evicted: &lt;i&gt;low on disk&lt;/i&gt;" in page
