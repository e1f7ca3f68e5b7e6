"""The page of a workflow: its versions, what changed between them, and choosing one."""

from __future__ import annotations

import pytest

from tests.fixtures.playground import Playground
from tests.integration.app.api.test_versions import bundle
from tests.integration.app.web.test_pages import PROJECT, Form, browse
from tests.unit.app.specs import diamond

PAGE = f"{PROJECT}/workflows/flow"


@pytest.fixture
def two(playground: Playground) -> tuple[Playground, str, str]:
    older = playground.register(diamond(doc="Four steps."))
    changed = diamond()
    changed["tasks"]["a"]["timeout_seconds"] = 5.0
    return playground, older, playground.register(changed)


def test_an_editor_goes_back_to_the_version_before_and_chooses_another(two: tuple[Playground, str, str]) -> None:
    playground, older, newer = two
    form = Form(playground, PAGE)
    assert f"Roll back to {older[:12]}" in form.answer.text
    sent = form.send(f"{PAGE}/rollback", to=older)
    assert (sent.status, sent.headers["location"]) == (303, PAGE)
    page = browse(playground, PAGE)
    assert f'version <span class="digest" title="{older}">' in page
    assert "Roll back to" not in page
    assert form.send(f"{PAGE}/activate", version=newer).status == 303
    assert playground.get("workflows/flow")["version"] == newer


def test_a_page_of_an_older_version_leads_to_what_changed_since(two: tuple[Playground, str, str]) -> None:
    playground, older, _ = two
    page = browse(playground, f"{PAGE}?version={older}")
    assert f"{PAGE}/diff/{older}" in page
    assert "Make it the active one" in page
    changes = browse(playground, f"{PAGE}/diff/{older}")
    assert "timeout_seconds" in changes
    assert "<del>null</del> <ins>5.0</ins>" in changes


def test_a_viewer_sees_versions_and_no_way_to_move_them(two: tuple[Playground, str, str]) -> None:
    playground, older, _ = two
    viewer = {"Authorization": f"Bearer {playground.token(role='viewer')}"}
    page = playground.call("GET", f"{PAGE}?version={older}", **viewer)
    assert page.status == 200
    assert "Make it the active one" not in page.text
    assert "Roll back" not in page.text
    assert playground.call("POST", "workflows/flow/rollback", {}, **viewer).status == 403
    assert playground.call("POST", "workflows/flow/activate", {"version": older}, **viewer).status == 403


def test_a_diff_shows_code_as_text_and_never_as_markup(playground: Playground) -> None:
    old, new = diamond(), diamond()
    old["bundle"] = bundle(playground, flow="'<script>alert(1)</script>'\n")
    new["bundle"] = bundle(playground, flow="'<b>'\n")
    older = playground.register(old)
    playground.register(new)
    page = browse(playground, f"{PAGE}/diff/{older}")
    assert "<script>alert" not in page
    assert "-&#39;&lt;script&gt;alert(1)&lt;/script&gt;&#39;" in page
