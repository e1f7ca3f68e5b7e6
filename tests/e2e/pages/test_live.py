"""Pages follow the server by themselves: nothing here loads a page a second time."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from app.compiler import compile_plan
from celesta.hashing import canonical
from tests.e2e.pages.conftest import Opener
from tests.fixtures.playground import Playground
from tests.fixtures.processes import wait_until
from tests.unit.app.specs import diamond, wide


@pytest.fixture
def flow(playground: Playground) -> Playground:
    playground.register(diamond())
    return playground


def test_a_run_is_coloured_counted_and_ended_while_it_is_looked_at(flow: Playground, opened: Opener) -> None:
    run = flow.launch(inputs={"n": 3})
    page = opened(f"/projects/default/runs/{run}")
    box = page.locator('[data-dag] [data-node="3"]')
    expect(box).to_have_attribute("data-state", "waiting")
    flow.start(run)
    flow.run_step(run, "3", "a")
    expect(box).to_have_attribute("data-state", "running")
    expect(page.locator('#steps tr[data-node="3"] [data-status]')).to_have_text("running")
    flow.settle(run, "3", "a", outputs={"result": 5})
    expect(box).to_have_attribute("data-state", "succeeded")
    expect(box).to_have_attribute("aria-label", "a: succeeded")
    expect(page.locator("[data-count=succeeded]")).to_have_text("1")
    for node, path in (("1", "b"), ("2", "c"), ("0", "d")):
        flow.settle(run, node, path, outputs={"result": 1})
    flow.finish(run, outputs={"result": 77}, succeeded=4)
    expect(page.locator("#run-head [data-status]")).to_have_text("succeeded")
    expect(page.locator("#run-values")).to_contain_text("77")
    expect(page.get_by_text("Cancel the run")).to_have_count(0)


def test_a_failure_is_named_when_it_ends_the_run(flow: Playground, opened: Opener) -> None:
    run = flow.launch(inputs={"n": 3})
    flow.start(run)
    page = opened(f"/projects/default/runs/{run}")
    error = {"type": "ValueError", "message": "odd", "kind": "user"}
    flow.settle(run, "3", "a", "failed", error=error)
    flow.finish(run, "failed", {"path": "a"} | error, failed=1, skipped=3)
    expect(page.get_by_role("alert")).to_contain_text("ValueError: odd")


def test_a_dynamic_step_says_why_nothing_below_it_begins_until_something_does(flow: Playground, opened: Opener) -> None:
    run = flow.launch(inputs={"n": 3})
    flow.start(run)
    flow.run_step(run, "3", "a")
    plan = flow.store.put_blob(canonical(compile_plan(diamond())))
    flow.tell(run, "dynamic.opened", node="3", path="a", token="1.1", attempt=1, width=4, known=8, plan=plan)
    flow.redis.hset(f"celesta:{{p0}}:{run}:st", "3/3", "ready|1.1||0|")
    page = opened(f"/projects/default/runs/{run}")
    flow.run_step(run, "1", "b")
    row = page.locator('#steps tr[data-node="3"]')
    expect(page.locator('#steps tr[data-node="1"] [data-status]')).to_have_text("running")
    expect(row).to_contain_text("a/a, which waits for its turn")
    flow.run_step(run, "3/3", "a/a", task="a")
    expect(row).not_to_contain_text("which waits for")
    expect(row.locator("[data-status]")).to_have_text("running")


def test_items_of_a_map_are_counted_on_the_graph(flow: Playground, opened: Opener) -> None:
    spec = diamond()
    spec["steps"][3] |= {"map": ["x"]}
    spec["interface"]["inputs"][0]["type"] = {"kind": "list", "items": {"kind": "int"}}
    spec["steps"] = spec["steps"][3:]
    spec["outputs"], spec["interface"]["outputs"] = {}, []
    spec["name"], spec["tasks"] = "mapper", {"a": spec["tasks"]["a"]}
    flow.register(spec)
    run = flow.launch("mapper", inputs={"n": [1, 2, 3]})
    page = opened(f"/projects/default/runs/{run}")
    flow.start(run, 4)
    flow.tell(run, "map.opened", node="0", path="a", width=3, known=4)
    flow.settle(run, "0.0", "a[0]")
    flow.settle(run, "0.1", "a[1]", "failed", error={"type": "E", "message": "m", "kind": "user"})
    expect(page.locator('[data-items="0"]')).to_have_text("2 of 3 items, 1 failed")
    expect(page.locator('#steps tr[data-node="0.1"]')).to_be_visible()


def test_a_new_run_appears_in_the_list_and_ends_there(flow: Playground, opened: Opener) -> None:
    page = opened("/projects/default/runs")
    expect(page.get_by_text("Nothing has run")).to_be_visible()
    run = flow.launch(inputs={"n": 3})
    flow.start(run)
    row = page.locator(f'tr[data-run="{run}"]')
    expect(row.locator("[data-status]")).to_have_text("running")
    flow.finish(run, succeeded=4)
    expect(row.locator("[data-status]")).to_have_text("succeeded")


def test_a_log_is_read_while_it_is_written(flow: Playground, opened: Opener) -> None:
    run = flow.launch(inputs={"n": 3})
    flow.start(run)
    flow.run_step(run, "3", "a")
    page = opened(f"/projects/default/runs/{run}/steps/a")
    flow.redis.xadd(f"celesta:log:{run}:3:1.1", {"d": b"epoch 1\n"})
    expect(page.locator("pre.log")).to_have_text("epoch 1\n")
    flow.settle(run, "3", "a", log="epoch 1\nepoch 2\n", outputs={"result": 5})
    expect(page.locator("pre.log")).to_have_text("epoch 1\nepoch 2\n")
    expect(page.locator("#step-head [data-status]")).to_have_text("succeeded")
    expect(page.locator("#step-values")).to_contain_text("5")


def test_a_page_that_nobody_sees_follows_nothing_and_catches_up(flow: Playground, opened: Opener) -> None:
    run = flow.launch(inputs={"n": 3})
    flow.start(run)
    page = opened(f"/projects/default/runs/{run}")
    expect(page.locator("[data-count=total]")).to_have_text("4")
    hide = """hidden => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(hide, True)
    flow.settle(run, "3", "a")
    page.evaluate(hide, False)
    expect(page.locator('[data-dag] [data-node="3"]')).to_have_attribute("data-state", "succeeded")


COUNT_PIXELS = """colour => {
    const canvas = document.querySelector("canvas"), probe = document.createElement("span");
    probe.style.color = `var(${colour})`;
    document.body.append(probe);
    const [r, g, b] = getComputedStyle(probe).color.match(/\\d+/g).map(Number);
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let found = 0;
    for (let i = 0; i < data.length; i += 4)
        found += Math.abs(data[i] - r) + Math.abs(data[i + 1] - g) + Math.abs(data[i + 2] - b) < 12;
    return found;
}"""


def test_a_large_graph_is_drawn_coloured_live_and_opens_its_steps(flow: Playground, opened: Opener) -> None:
    flow.register(wide(3_000))
    run = flow.launch()
    flow.start(run, 3_000)
    opened.expected.append("getImageData")  # type: ignore[attr-defined]  # this test reads pixels; the page does not
    page = opened(f"/projects/default/runs/{run}")
    expect(page.locator("canvas")).to_be_visible()
    assert page.evaluate(COUNT_PIXELS, "--bad") == 0
    for index in range(40):
        flow.settle(run, str(index), f"work#{index + 1}", "failed", error={"type": "E", "message": "m", "kind": "user"})
    wait_until(lambda: page.evaluate(COUNT_PIXELS, "--bad") > 20, what="the colour of the failed steps")
    for _ in range(12):
        page.get_by_role("button", name="Zoom in").click()
    page.locator("canvas").focus()
    page.keyboard.press("0")
    frames = page.evaluate("""async () => {
        const canvas = document.querySelector("canvas"), times = [];
        for (let i = 0; i < 30; i++) {
            const start = performance.now();
            canvas.dispatchEvent(new KeyboardEvent("keydown", { key: i % 2 ? "ArrowLeft" : "ArrowRight" }));
            await new Promise(requestAnimationFrame);
            await new Promise(requestAnimationFrame);
            times.push(performance.now() - start);
        }
        return times.sort((a, b) => a - b)[15];
    }""")
    assert frames < 150  # two frames; 33 ms on a quiet machine
    box = page.locator("canvas").bounding_box()
    assert box
    drawn = flow.get(f"workflows/flow/versions/{flow.get('workflows/flow')['version']}/graph")["layout"]
    scale = min(box["width"] / drawn["width"], box["height"] / drawn["height"], 1)
    left, top, _ = drawn["nodes"][0]
    margin = (box["height"] - drawn["height"] * scale) / 2
    page.mouse.click(box["x"] + (left + 84) * scale, box["y"] + margin + (top + 18) * scale)
    page.wait_for_url("**/steps/0")
