"""A person signs in, works, and is asked again when the token ends."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from app.db import db
from app.services.owner_make import make_owner
from app.services.token_revoke import revoke_token
from tests.e2e.pages.test_readable import CONTRAST, NAMELESS
from tests.fixtures.home import short_directory
from tests.fixtures.playground import OPERATOR, playground_config, serving
from tests.unit.app.specs import diamond


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_person_signs_in_works_and_is_asked_again_when_the_token_ends(
    browser: Browser, redis_url: str, theme: str
) -> None:
    with short_directory("celesta-team-") as home:
        config = playground_config(home, redis_url)
        with serving(config, loopback_auth=False, secret_key="0123456789abcdef") as team:
            team.register(diamond())
            run = team.launch(inputs={"n": 3})
            with team.app.app_context():
                token, secret = make_owner(db.session, OPERATOR, "default", "ada")
            page = browser.new_page(color_scheme=theme)  # type: ignore[arg-type]
            page.set_default_timeout(10_000)
            page.goto(f"{team.url}/projects/default/runs/{run}")
            expect(page.get_by_label("Token")).to_be_focused()
            page.keyboard.type("cel_wrong")
            page.keyboard.press("Enter")
            expect(page.get_by_role("alert")).to_contain_text("not known")
            assert page.evaluate(CONTRAST) == []
            assert page.evaluate(NAMELESS) == []
            page.get_by_label("Token").fill(secret)
            page.keyboard.press("Enter")
            page.wait_for_url(f"{team.url}/projects/default/runs/{run}")
            team.start(run)
            team.run_step(run, "3", "a")
            expect(page.locator("#run-head [data-status]")).to_have_text("running")
            assert page.evaluate(CONTRAST) == []
            with team.app.app_context():
                revoke_token(db.session, OPERATOR, team._project("default"), token.id)
            page.get_by_role("button", name="Cancel the run").click()
            expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
            with team.app.app_context():
                again = make_owner(db.session, OPERATOR, "default", "ada")[1]
            page.get_by_label("Token").fill(again)
            page.keyboard.press("Enter")
            page.wait_for_url(f"{team.url}/projects/default/runs")
            page.get_by_role("button", name="Sign out").click()
            page.wait_for_url(f"{team.url}/sign-in")
            page.close()
