"""The page in a real browser: drop, ask, read, look."""

from __future__ import annotations

import base64
import math
import urllib.error
import urllib.request

import pytest
from helpers import EXAMPLES, WAIT, answers, attach, kinds, open_tab, send, total_tokens, wait_for_turn
from PIL import Image
from playwright.sync_api import expect
from served import MODEL

from vlm.families.checkpoint import open_config
from vlm.inputs.patches import target_size

DROP = """([name, data]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type: "image/png" }));
  const target = document.querySelector("#box .full-container");
  for (const type of ["dragenter", "dragover", "drop"])
    target.dispatchEvent(new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""

PASTE = """([name, data]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const clipboardData = new DataTransfer();
  clipboardData.items.add(new File([bytes], name, { type: "image/png" }));
  const target = document.querySelector("#box textarea");
  target.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
}"""


def expected_tokens(path) -> int:
    """Merged tokens of a picture, from the model's config."""
    pixels = open_config(MODEL)[0].pixels
    width, height = Image.open(path).size
    return math.prod(target_size("image", 1, height, width, pixels)) // pixels.factor**2


def test_a_picture_is_asked_about_and_counted(page):
    picture = EXAMPLES / "circle.png"
    attach(page, picture)
    send(page, "What shape is this?")
    wait_for_turn(page, 1)
    assert answers(page)[0].strip()
    assert page.input_value("#box textarea") == ""
    expect(page.locator("#box .thumbnail-item")).to_have_count(0)
    open_tab(page, "Tokens")
    assert kinds(page)["image"] == expected_tokens(picture)
    assert sum(kinds(page).values()) == total_tokens(page)
    card = page.locator("#tokens .gb-medium")
    assert card.get_attribute("data-tokens") == str(expected_tokens(picture))
    expect(card).to_contain_text("224 × 224")


@pytest.mark.parametrize("gesture", [DROP, PASTE], ids=["dropped", "pasted"])
def test_a_dropped_or_pasted_picture_arrives(page, gesture):
    data = base64.b64encode((EXAMPLES / "star.png").read_bytes()).decode()
    page.evaluate(gesture, ["star.png", data])
    expect(page.locator("#box .thumbnail-item")).to_have_count(1, timeout=WAIT)
    send(page, "What is this?")
    wait_for_turn(page, 1)
    expect(page.locator("#patch-grid .gb-line")).to_contain_text("star.png")


@pytest.mark.skipif(MODEL != "tiny", reason="only the shipped model is known to answer right")
def test_the_shipped_model_tells_the_colour(page):
    page.get_by_role("button", name="What colour is the circle?").click()
    wait_for_turn(page, 1)
    assert "red" in answers(page)[0].lower()


def test_the_four_examples_run(page):
    buttons = page.locator("#examples button")
    assert buttons.count() == 4
    open_tab(page, "Tokens")
    for button in buttons.all():
        button.click()
        wait_for_turn(page, 1, button.inner_text().strip())
        assert [bool(answer.strip()) for answer in answers(page)] == [True]
        assert page.locator("#tokens .gb-medium").count() == 1
        assert total_tokens(page) == sum(kinds(page).values())
    assert kinds(page)["video"] > 0


def test_pointing_at_a_cell_tells_its_token(page):
    page.locator("#examples button").first.click()
    wait_for_turn(page, 1)
    grid, cell = page.locator("#patch-grid .gb-grid"), page.locator("#patch-grid .gb-cell")
    expect(cell).to_contain_text("Point at a cell")
    grid.hover(position={"x": 4, "y": 4})
    token = int(page.locator("#patch-grid [data-token]").get_attribute("data-token"))
    expect(cell.locator(".gb-cell-title")).to_have_text(f"Token {token}")
    expect(cell).to_contain_text("x 0–37, y 0–37 px")
    page.keyboard.press("Tab")
    grid.focus()
    page.keyboard.press("ArrowRight")
    expect(cell.locator(".gb-cell-title")).to_have_text(f"Token {token + 1}")
    grid.click(position={"x": 4, "y": 4})
    page.mouse.move(5, 5)
    expect(cell.locator(".gb-cell-title")).to_have_text(f"Token {token}")
    expect(cell).to_contain_text("Held")


def test_a_clip_is_shown_in_time(page):
    page.locator("#examples button").nth(3).click()
    wait_for_turn(page, 1)
    moments = page.locator("#patch-grid .gb-thumb")
    assert moments.count() >= 2
    expect(page.locator("#patch-grid .gb-scrub span")).to_contain_text("Temporal patch 1")
    moments.nth(1).click()
    expect(page.locator("#patch-grid .gb-scrub span")).to_contain_text("Temporal patch 2")
    page.locator("#patch-grid .gb-scrub input").fill("0")
    expect(page.locator("#patch-grid .gb-scrub span")).to_contain_text("Temporal patch 1")


def test_positions_are_listed_and_searched(page):
    page.locator("#examples button").first.click()
    wait_for_turn(page, 1)
    open_tab(page, "Positions")
    rows = page.locator("#positions .gb-space .gb-row")
    expect(rows.first).to_be_visible()
    assert rows.first.locator("span").first.inner_text() == "0"
    page.fill("#positions .gb-search", "image")
    expect(page.locator("#positions .gb-found")).to_contain_text(
        f"{expected_tokens(EXAMPLES / 'circle.png')} of "
    )
    page.fill("#positions .gb-search", "no such token")
    expect(rows).to_have_count(0)
    expect(page.locator("#positions .gb-delta")).to_contain_text("rope_delta = −")


def test_earlier_turns_can_be_looked_at(page):
    page.locator("#examples button").first.click()
    wait_for_turn(page, 1)
    open_tab(page, "Tokens")
    first = total_tokens(page)
    send(page, "What shape is it?")
    wait_for_turn(page, 2)
    assert total_tokens(page) > first
    page.click("#turn input")
    page.get_by_role("option", name="Turn 1:").click()
    expect(page.locator("#tokens [data-total]")).to_have_attribute("data-total", str(first), timeout=WAIT)


def test_clear_starts_over(page):
    page.locator("#examples button").first.click()
    wait_for_turn(page, 1)
    page.click("#clear")
    expect(page.locator("#chat .message")).to_have_count(0, timeout=WAIT)
    expect(page.locator("#patch-grid .gb-empty")).to_be_visible()
    expect(page.locator("#turn")).to_have_count(0)
    send(page, "Hello")
    wait_for_turn(page, 1)
    assert "no picture" in page.locator("#patch-grid .gb-none").inner_text()


def test_pages_do_not_share_a_chat(app, page, browser):
    page.locator("#examples button").first.click()
    wait_for_turn(page, 1)
    context = browser.new_context()
    other = context.new_page()
    other.goto(app)
    other.wait_for_selector("#patch-grid .gb-empty:visible")
    assert other.locator("#chat .message").count() == 0
    context.close()


@pytest.mark.parametrize("width", [420, 820])
def test_narrow_windows_do_not_scroll_sideways(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.locator("#examples button").nth(3).click()
    wait_for_turn(page, 1)
    for tab in ("Patches", "Positions", "Tokens"):
        open_tab(page, tab)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(
    ("path", "origin"),
    [("", "https://evil.example"), ("gradio_api/file=https://evil.example/a.png", None)],
)
def test_the_server_refuses_foreign_pages_and_fetches(app, path, origin):
    request = urllib.request.Request(app + path, headers={"Origin": origin} if origin else {})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=10)
