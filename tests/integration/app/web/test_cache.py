"""The page of a step says why it was computed, or who answered it."""

from __future__ import annotations

import pytest

from tests.fixtures.playground import Playground
from tests.integration.app.api.test_cache import Cached
from tests.integration.app.web.test_pages import PROJECT, browse


@pytest.fixture
def cached(playground: Playground) -> Cached:
    made = Cached(playground)
    made.register()
    return made


def test_a_miss_shows_what_differs_and_leads_to_the_nearest_result(cached: Cached) -> None:
    first = cached.run(3)
    cached.register(source="def a(x):\n    return '<b>'\n", code_digest="c" * 64)
    page = browse(cached.playground, f"{PROJECT}/runs/{cached.run(4)}/steps/a")
    assert "differs in: code, input x" in page
    assert f"{PROJECT}/runs/{first}/steps/3" in page
    assert '<span class="value">3</span>' in page
    assert "+    return &#39;&lt;b&gt;&#39;" in page
    assert "<b>" not in page


def test_a_hit_names_its_source_and_a_step_without_cache_says_how_to_get_one(cached: Cached) -> None:
    cached.run()
    hit = cached.run(state="cached")
    assert "A step with the same key had been computed" in browse(cached.playground, f"{PROJECT}/runs/{hit}/steps/a")
    cached.playground.settle(hit, "1", "b", "succeeded", outputs={"result": 2})
    assert "@task(cache=True)" in browse(cached.playground, f"{PROJECT}/runs/{hit}/steps/b")


def test_what_another_project_computed_is_told_without_a_link(cached: Cached) -> None:
    source = {"run": "r9", "path": "a", "node": "3", "token": "1.1", "project": "theirs"}
    play = cached.playground
    run = play.launch(inputs={"n": 1})
    play.start(run)
    play.settle(run, "3", "a", "cached", source=source, outputs={"result": 2}, cache_key="k")
    page = browse(play, f"{PROJECT}/runs/{run}/steps/a")
    assert "a of r9 in theirs" in page
    assert "runs/r9" not in page
