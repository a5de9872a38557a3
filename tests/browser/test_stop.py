"""Stop, on an app whose model answers slowly and without end."""

from __future__ import annotations

import pytest
from helpers import EXAMPLES, WAIT, answers, attach, send, wait_for_model, wait_for_turn
from playwright.sync_api import expect


@pytest.mark.parametrize("by", ["button", "Escape"])
def test_stop_keeps_what_was_said_and_the_chat_goes_on(slow_page, by):
    page = slow_page
    attach(page, EXAMPLES / "circle.png")
    send(page, "Describe the picture.")
    expect(page.locator("#status")).to_contain_text("writing", timeout=WAIT)
    page.wait_for_function("document.querySelector('#chat .bot')?.innerText.length > 8", timeout=WAIT)
    early = len(answers(page)[0])
    page.wait_for_function(f"document.querySelector('#chat .bot').innerText.length > {early}", timeout=WAIT)
    expect(page.locator("#clear")).to_be_disabled()
    stop(page, by)
    wait_for_turn(page, 1)
    assert "(stopped)" in answers(page)[0]
    assert len(answers(page)[0]) > len("(stopped)") + 8
    expect(page.locator("#clear")).to_be_enabled()

    send(page, "Go on.")
    page.wait_for_function("document.querySelectorAll('#chat .bot').length == 2", timeout=WAIT)
    stop(page, by)
    wait_for_turn(page, 2)


def places(page) -> list[dict]:
    return [page.locator(part).bounding_box() for part in ("#chat", "#box", "#panels", "#status")]


def stop(page, by: str) -> None:
    if by == "Escape":
        page.keyboard.press("Escape")
    else:
        page.click("#box .stop-button")


def test_figures_are_live_and_nothing_shifts_while_text_streams(slow_page):
    page = slow_page
    page.get_by_role("tab", name="Run", exact=True).click()
    attach(page, EXAMPLES / "circle.png")
    send(page, "Describe the picture.")
    counted = page.locator("#run [data-stat=Answer] dd").first
    expect(counted).to_contain_text("tokens", timeout=WAIT)
    before, first = counted.inner_text(), places(page)
    expect(counted).not_to_have_text(before, timeout=WAIT)
    assert places(page) == first
    stop(page, "button")
    wait_for_turn(page, 1)


def test_leaving_the_page_frees_the_model(slow_page, slow_app, browser):
    context = browser.new_context()  # its own, for a connection that breaks off is told on the console
    page = context.new_page()
    page.goto(slow_app)
    wait_for_model(page)
    send(page, "Describe the picture.")
    expect(page.locator("#status")).to_contain_text("writing", timeout=WAIT)
    page.goto("about:blank")
    other = slow_page
    send(other, "Hello")
    expect(other.locator("#status")).to_contain_text("writing", timeout=20_000)
    other.click("#box .stop-button")
    wait_for_turn(other, 1)
    context.close()
