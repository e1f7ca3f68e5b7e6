"""A headless browser, once per module, and a page that fails its test on any error of a script or of the policy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.fixtures.playground import Playground
from tests.fixtures.processes import missing

OPTIONS = ["--no-sandbox", "--disable-background-networking"]
Opener = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """It ends before the tests of others: Playwright keeps an event loop running, under which nobody can start one."""
    program = shutil.which("chromium") or missing("Chromium", "install the package chromium")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=OPTIONS, env=dict(os.environ))
        yield found
        found.close()


@pytest.fixture
def opened(browser: Browser, playground: Playground) -> Iterator[Opener]:
    """``opened(path, **context)`` gives a page. What it complains about and is not ``expected`` fails the test."""
    complaints: list[str] = []
    contexts = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(f"{message.text} ({message.location})")

    def open_page(path: str, **context: object) -> Page:
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 800}} | context))  # type: ignore[arg-type]
        page = contexts[-1].new_page()
        page.set_default_timeout(10_000)
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(playground.url + path)
        return page

    open_page.complaints = complaints  # type: ignore[attr-defined]
    open_page.expected = []  # type: ignore[attr-defined]
    yield open_page
    for each in contexts:
        each.close()
    assert [text for text in complaints if not any(word in text for word in open_page.expected)] == []  # type: ignore[attr-defined]
