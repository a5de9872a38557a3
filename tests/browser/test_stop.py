"""Stop, on an app whose model answers slowly and without end."""

from __future__ import annotations

import pytest
from helpers import EXAMPLES, WAIT, answers, attach, send, wait_for_turn
from playwright.sync_api import expect
from served import MODEL, running_app


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    with running_app(tmp_path_factory.mktemp("slow"), "tests/browser/slow_app.py", MODEL) as address:
        yield address


def test_stop_keeps_what_was_said_and_the_chat_goes_on(page):
    attach(page, EXAMPLES / "circle.png")
    send(page, "Describe the picture.")
    expect(page.locator("#status")).to_contain_text("writing", timeout=WAIT)
    page.wait_for_function("document.querySelector('#chat .bot')?.innerText.length > 8", timeout=WAIT)
    early = len(answers(page)[0])
    page.wait_for_function(f"document.querySelector('#chat .bot').innerText.length > {early}", timeout=WAIT)
    expect(page.locator("#clear")).to_be_disabled()
    page.click("#box .stop-button")
    wait_for_turn(page, 1)
    assert "(stopped)" in answers(page)[0]
    assert len(answers(page)[0]) > len("(stopped)") + 8
    expect(page.locator("#clear")).to_be_enabled()

    send(page, "Go on.")
    page.wait_for_function("document.querySelectorAll('#chat .bot').length == 2", timeout=WAIT)
    page.click("#box .stop-button")
    wait_for_turn(page, 2)


def test_leaving_the_page_frees_the_model(page, app, browser):
    send(page, "Describe the picture.")
    expect(page.locator("#status")).to_contain_text("writing", timeout=WAIT)
    page.goto("about:blank")
    context = browser.new_context()
    other = context.new_page()
    other.goto(app)
    other.wait_for_selector("#box textarea")
    send(other, "Hello")
    expect(other.locator("#status")).to_contain_text("writing", timeout=20_000)
    other.click("#box .stop-button")
    wait_for_turn(other, 1)
    context.close()
