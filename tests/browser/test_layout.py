"""How the page looks: no page scroll, nothing on top of something else, light and dark, wide and narrow."""

from __future__ import annotations

import pytest
from helpers import EXAMPLES, attach, example, open_tab
from playwright.sync_api import Page

TABS = ("Patches", "Lens", "Positions", "Tokens", "Anatomy", "Compare", "Run", "Model")

# Every piece of text that can be seen, as (text, box): clipped to what its scrolling ancestors show.
TEXTS = """() => {
  const UNSEEN = "script, style, .sr-only, [aria-hidden=true], option, textarea";
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let number = 0; walker.nextNode(); number++) {
    const node = walker.currentNode, parent = node.parentElement;
    if (!node.textContent.trim() || parent.closest(UNSEEN)) continue;
    if (!parent.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const rect of range.getClientRects()) {
      let [l, t, r, b] = [rect.left, rect.top, rect.right, rect.bottom];
      for (let up = parent; up; up = up.parentElement) {
        const style = getComputedStyle(up), box = up.getBoundingClientRect();
        if (style.overflowX !== "visible") { l = Math.max(l, box.left); r = Math.min(r, box.right); }
        if (style.overflowY !== "visible") { t = Math.max(t, box.top); b = Math.min(b, box.bottom); }
      }
      if (r - l > 2 && b - t > 4) found.push([number, node.textContent.trim().slice(0, 40), l, t, r, b]);
    }
  }
  return found;
}"""


def overlaps(page: Page) -> list[tuple[str, str]]:
    """Pairs of texts whose boxes share more than a hair."""
    texts = page.evaluate(TEXTS)
    found = []
    for i, (n1, one, l1, t1, r1, b1) in enumerate(texts):
        for n2, two, l2, t2, r2, b2 in texts[i + 1 :]:
            across, down = min(r1, r2) - max(l1, l2), min(b1, b2) - max(t1, t2)
            if n1 != n2 and across > 2 and down > 3:  # a text cut short has several boxes of its own
                found.append((one, two))
    return found


@pytest.mark.parametrize(
    "window",
    [
        {"viewport": {"width": 1440, "height": 900}},
        {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark"},
        {"viewport": {"width": 1024, "height": 768}},
        {"viewport": {"width": 390, "height": 844}, "has_touch": True},
    ],
    ids=["wide", "dark", "small", "narrow"],
)
def test_nothing_lies_on_something_else_and_the_page_does_not_scroll_sideways(page, window):
    width, height = window["viewport"].values()
    assert overlaps(page) == []
    example(page, "Which way")
    attach(page, EXAMPLES / "circle.png", EXAMPLES / "moving_circle.mp4")
    page.wait_for_selector("#cost li")
    for tab in TABS:
        open_tab(page, tab)
        page.wait_for_timeout(150)
        assert overlaps(page) == [], tab
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if width >= 1440:
            assert page.evaluate("document.documentElement.scrollHeight") <= height, tab
    if window.get("color_scheme") == "dark":
        colours = "getComputedStyle(document.querySelector('#panels .tabitem')).backgroundColor"
        assert max(int(part) for part in page.evaluate(colours)[4:-1].split(",")) < 80


def test_the_panels_fold_under_the_chat_on_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 844})
    left, right = (page.locator(part).bounding_box() for part in ("#left", "#right"))
    assert right["y"] >= left["y"] + left["height"]
    card = page.locator("#patch-grid").bounding_box()
    assert right["y"] + right["height"] >= card["y"] + card["height"]  # and the page scrolls that far
    page.set_viewport_size({"width": 1440, "height": 900})
    left, right = (page.locator(part).bounding_box() for part in ("#left", "#right"))
    assert right["x"] >= left["x"] + left["width"] and abs(right["y"] - left["y"]) < 2
