"""A running app and a Chromium that looks at it. GLASSBOX_MODEL names the model (default: tiny)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from served import browser_options, running_app


@pytest.fixture(scope="session")
def app(tmp_path_factory) -> Iterator[str]:
    """Address of the app, started once."""
    with running_app(tmp_path_factory.mktemp("app")) as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**browser_options())
        yield browser
        browser.close()


@pytest.fixture
def page(app, browser) -> Iterator[Page]:
    """A fresh page; a script error on it, or a request to another host, fails the test."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    errors, foreign = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: _is_local(request.url, app) or foreign.append(request.url))
    page.goto(app)
    page.wait_for_selector("#box textarea")
    page.wait_for_selector("#patch-grid .gb-empty")
    yield page
    context.close()
    assert not errors
    assert not foreign


def _is_local(url: str, app: str) -> bool:
    return url.startswith((app, "data:", "blob:"))
