"""Running apps and a Chromium that looks at them. GLASSBOX_MODEL names the model (default: tiny)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers import WAIT, wait_for_model
from playwright.sync_api import Browser, Page
from served import MODEL, running_app


@pytest.fixture(scope="session")
def app(tmp_path_factory) -> Iterator[str]:
    """Address of the app, started once for all tests."""
    with running_app(tmp_path_factory.mktemp("app")) as address:
        yield address


@pytest.fixture(scope="session")
def slow_app(tmp_path_factory) -> Iterator[str]:
    """The app with a model that takes its time and never ends by itself."""
    with running_app(tmp_path_factory.mktemp("slow"), "tests/browser/slow_app.py", MODEL) as address:
        yield address


@pytest.fixture
def window() -> dict:
    """What a test may ask of the browser's window, by overriding this."""
    return {"viewport": {"width": 1440, "height": 900}}


@pytest.fixture
def page(app, browser, window) -> Iterator[Page]:
    """A fresh page; an error on its console, or a request to another host, fails the test."""
    yield from watched(browser, app, window)


@pytest.fixture
def slow_page(slow_app, browser, window) -> Iterator[Page]:
    yield from watched(browser, slow_app, window)


def watched(browser: Browser, address: str, window: dict) -> Iterator[Page]:
    context = browser.new_context(accept_downloads=True, **window)
    page = context.new_page()
    errors, foreign = [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: message.type == "error" and errors.append(message.text))
    page.on("request", lambda request: is_local(request.url, address) or foreign.append(request.url))
    page.goto(address)
    page.wait_for_selector("#box textarea", timeout=WAIT)
    wait_for_model(page)
    yield page
    context.close()
    assert not errors
    assert not foreign


def is_local(url: str, address: str) -> bool:
    return url.startswith((address, "data:", "blob:"))
