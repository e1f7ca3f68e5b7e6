"""Every page can be read: in both themes, by keyboard, without scripts; and says nothing by colour alone."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from celesta.hashing import cache_components, cache_key, canonical
from tests.e2e.pages.conftest import Opener
from tests.fixtures.playground import Playground
from tests.integration.app.api.test_versions import bundle
from tests.unit.app.specs import CACHE, diamond

# The contrast of each visible text with what is behind it, by the formula of WCAG 2.
CONTRAST = """() => {
    const parse = text => (text.match(/[\\d.]+/g) ?? []).map(Number);
    const solid = ([r, g, b, a = 1], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a)];
    const light = rgb => {
        const [r, g, b] = rgb.map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = element => {
        for (let e = element, seen = []; e; e = e.parentElement) {
            const box = e.tagName === "text" && e.closest("a")?.querySelector(":scope > .box");
            const colour = parse(box ? getComputedStyle(box).fill : getComputedStyle(e).backgroundColor);
            if (colour.length && (colour[3] ?? 1) > 0.99)
                return seen.reduceRight((base, top) => solid(top, base), colour.slice(0, 3));
            if (colour.length && colour[3] > 0) seen.push(colour);
        }
        return [255, 255, 255];
    };
    const poor = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !element.checkVisibility({ visibilityProperty: true })) continue;
        if (element.closest("noscript, title, option, [disabled]")) continue;
        const style = getComputedStyle(element), back = behind(element);
        const front = solid(parse(element.tagName === "text" ? style.fill : style.color), back);
        const [low, high] = [light(front), light(back)].sort((a, b) => a - b);
        const ratio = (high + 0.05) / (low + 0.05);
        if (ratio < 4.5) poor.push(`${walker.currentNode.data.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
    }
    return poor;
}"""
# Words for people who do not see: every field has a label, every picture and frame a name.
NAMELESS = """() => [...document.querySelectorAll(
        "input:not([type=hidden]), select, textarea, iframe, img, canvas, button, a")]
    .filter(e => e.checkVisibility() && !(e.labels?.length || e.getAttribute("aria-label") || e.title || e.alt
        || e.textContent.trim())).map(e => e.outerHTML.slice(0, 90))"""


@pytest.fixture
def paths(playground: Playground) -> dict[str, str]:
    """One page of each kind, with every state on it."""
    flow = playground
    flow.new_project("fresh")
    flow.register(diamond())
    run = flow.launch(inputs={"n": 3})
    flow.start(run)
    error = {"type": "ValueError", "message": "odd", "kind": "user", "traceback": "Traceback…"}
    flow.settle(run, "3", "a", outputs={"result": 5}, log="hello\n", report="<p>fine</p>", cache_key="k")
    source = {"run": run, "node": "3", "path": "a", "token": "1.1"}
    flow.settle(run, "1", "b", "cached", source=source, outputs={"result": 5})
    flow.settle(run, "2", "c", "failed", error=error)
    flow.settle(run, "0", "d", "upstream_failed")
    flow.finish(run, "failed", {"path": "c"} | error, succeeded=1, cached=1, failed=1, skipped=1)
    live = flow.launch(inputs={"n": 4})
    flow.start(live)
    flow.run_step(live, "3", "a")
    flow.tell(live, "step.retry", node="3", path="a", token="1.1", reason="lost", error=None, next_attempt=2)
    flow.run_step(live, "2", "c")
    artifact = flow.get("artifacts", run=run)["items"][0]["id"]
    versions, runs = two_versions(flow)
    registered = flow.call("POST", "models/digits/versions", {"artifact": artifact, "notes": "the first one"})
    assert registered.status == 201, registered.text
    flow.call("PUT", "models/digits/aliases/production", {"version": "1"})
    base = "/projects/default"
    return {
        "runs": f"{base}/runs",
        "empty": "/projects/fresh/runs",
        "failed run": f"{base}/runs/{run}",
        "live run": f"{base}/runs/{live}",
        "step": f"{base}/runs/{run}/steps/a",
        "failed step": f"{base}/runs/{run}/steps/c",
        "workflows": f"{base}/workflows",
        "workflow": f"{base}/workflows/flow",
        "artifact": f"{base}/artifacts/{artifact}",
        "artifacts": f"{base}/artifacts",
        "changes of a version": f"{base}/workflows/flow/diff/{versions[0]}",
        "comparison": f"{base}/compare?run={runs[0]}&run={runs[1]}&run={run}",
        "diff": f"{base}/compare?run={runs[0]}&run={runs[1]}",
        "miss": f"{base}/runs/{runs[1]}/steps/3",
        "models": f"{base}/models",
        "model": f"{base}/models/digits",
        "projects": "/projects",
        "reference": "/api/v1/docs",
    }


def two_versions(flow: Playground) -> tuple[list[str], list[str]]:
    """Versions that differ in everything, and a run of each: other inputs, code, packages, metrics and outputs."""
    versions, runs = [], []
    for number in (1, 2):
        spec = diamond(bundle=bundle(flow, flow=f"RATE = {number}\n"), git={"commit": f"{number}" * 40, "dirty": True})
        source = f"def a(x):\n    return x * {number}\n"
        spec["tasks"]["a"] |= {"source": source, "code_digest": f"{number}" * 64, "timeout_seconds": 10 * number}
        spec["tasks"]["a"] |= {"cache": CACHE | {"environment": True}}
        lock = {"python": "3.11.9", "platform": "linux-x86_64", "packages": {"numpy": f"{number}.26.0"}}
        versions.append(flow.register(spec | {"environment": lock}))
        run = flow.launch(inputs={"n": number})
        runs.append(run)
        flow.start(run)
        ref = flow.encode(number)
        environment = flow.store.put_blob(canonical(lock))
        components = cache_components(spec["tasks"]["a"], {"x": ref}, environment)
        points = [{"name": "loss", "step": at, "value": number / (at + 1), "at_ms": 1} for at in range(5)]
        outcome = {"status": "succeeded", "outputs": {"result": ref}, "environment": environment, "metrics": points}
        told = {"token": "1.1", "attempt": 1, "state": "succeeded", "cache_key": cache_key(components)}
        told |= {"components": components, "input_digests": {"x": ref["digest"]}}
        flow.tell(run, "step.settled", node="3", path="a", **told, outcome=outcome)
        flow.finish(run, succeeded=1, outputs={"result": number})
    return versions, runs


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(paths: dict[str, str], opened: Opener, scheme: str) -> None:
    page = opened("/projects", color_scheme=scheme)
    for name, path in paths.items():
        page.goto(page.url.partition("/projects")[0].partition("/api")[0] + path)
        expect(page.locator("h1").first).to_be_visible()
        if name == "reference":
            page.locator(".endpoint").first.wait_for()
        assert page.evaluate(CONTRAST) == [], name


def test_everything_that_can_be_used_has_a_name(paths: dict[str, str], opened: Opener) -> None:
    page = opened("/projects")
    origin = page.url.removesuffix("/projects")
    for name, path in paths.items():
        page.goto(origin + path)
        assert page.evaluate(NAMELESS) == [], name
        assert page.evaluate("document.querySelectorAll('main').length === 1 && document.title.length > 10"), name


def test_no_page_is_wider_than_a_small_screen(paths: dict[str, str], opened: Opener) -> None:
    page = opened("/projects", viewport={"width": 420, "height": 800})
    origin = page.url.removesuffix("/projects")
    for name, path in paths.items():
        page.goto(origin + path)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name


def test_a_keyboard_reaches_a_step_and_shows_where_it_is(paths: dict[str, str], opened: Opener) -> None:
    page = opened(paths["failed run"])
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.locator('[data-dag] [data-node="2"]').focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    box = page.locator('[data-dag] [data-node="2"] .box')
    assert float(box.evaluate("box => parseFloat(getComputedStyle(box).strokeWidth)")) > 3
    page.keyboard.press("Enter")
    page.wait_for_url("**/steps/2")
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_a_run_can_be_read_without_scripts(paths: dict[str, str], opened: Opener) -> None:
    page = opened(paths["failed run"], java_script_enabled=False)
    expect(page.locator('svg.graph [data-state="failed"]')).to_be_visible()
    expect(page.locator("#steps tbody tr")).to_have_count(4)
    expect(page.get_by_role("alert")).to_contain_text("ValueError")


def test_the_theme_can_be_chosen_and_is_kept(paths: dict[str, str], opened: Opener) -> None:
    page = opened(paths["runs"], color_scheme="light")
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.get_by_role("button", name="Dark theme").click()
    assert page.evaluate(colour) != light
    page.reload()
    assert page.evaluate(colour) != light


def test_a_form_is_filled_corrected_and_launches(paths: dict[str, str], opened: Opener) -> None:
    page: Page = opened(paths["workflow"])
    opened.expected.append("422")  # type: ignore[attr-defined]  # which a browser notes as an error
    field = page.get_by_label("n required")
    page.get_by_role("button", name="Launch the run").click()
    expect(page.get_by_text("is required")).to_be_visible()
    expect(field).to_have_attribute("aria-invalid", "true")
    field.fill("12")
    page.get_by_role("button", name="Launch the run").click()
    page.wait_for_url("**/runs/*")
    expect(page.locator("#run-values")).to_contain_text("12")


def test_a_report_is_shown_and_runs_nothing(playground: Playground, paths: dict[str, str], opened: Opener) -> None:
    run = playground.launch(inputs={"n": 3})
    playground.start(run)
    evil = """<p>shown</p><script>parent.document.title = "taken"; fetch("/api/v1/me")</script>
        <img src="/api/v1/me"><form action="/projects/default/runs"><button id=b>go</button></form>"""
    playground.settle(run, "3", "a", report=evil)
    page = opened(f"/projects/default/runs/{run}/steps/a")
    frame = page.frame_locator("iframe.report")
    expect(frame.locator("p")).to_have_text("shown")
    frame.locator("#b").click()
    assert "taken" not in page.title()
    expect(frame.locator("p")).to_have_text("shown")
    opened.expected.extend(["script", "/api/v1/me", "form"])  # type: ignore[attr-defined]
    refused = " ".join(opened.complaints)  # type: ignore[attr-defined]
    assert "script" in refused
    assert "/api/v1/me" in refused
