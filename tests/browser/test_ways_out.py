"""A question that does not fit is refused with ways out, and one click takes one."""

from __future__ import annotations

import pytest
from helpers import EXAMPLES, WAIT, answers, attach, send, wait_for_turn
from playwright.sync_api import expect
from served import MODEL


@pytest.mark.skipif(MODEL != "tiny", reason="the length is right for the embedded model's context")
def test_a_chat_that_is_too_long_forgets_its_oldest_turn_on_a_click(page):
    attach(page, EXAMPLES / "circle.png")
    send(page, "What shape is this? " + "red blue green " * 400)
    wait_for_turn(page, 1)
    long = "And now? " + "red blue green " * 1000
    send(page, long)
    ways = page.locator("#ways button:visible")
    expect(ways.first).to_be_visible(timeout=WAIT)
    assert page.input_value("#box textarea") == long
    assert len(answers(page)) == 1
    ways.filter(has_text="forget the oldest turn").click()
    wait_for_turn(page, 2, "And now?")
    expect(ways).to_have_count(0)
    assert page.input_value("#box textarea") == ""
    send(page, "Thanks")
    wait_for_turn(page, 3)
