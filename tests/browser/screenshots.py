"""Takes the pictures of the README: ``make screenshots`` writes docs/screenshots/*.png."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from helpers import open_tab, send, wait_for_turn
from playwright.sync_api import Browser, Page, sync_playwright
from served import ROOT, browser_options, running_app

FOLDER = ROOT / "docs" / "screenshots"
WINDOWS = {
    "light": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark"},
    "narrow": {"viewport": {"width": 420, "height": 900}, "color_scheme": "light"},
}


def take(browser: Browser, address: str, name: str) -> None:
    """One window after two turns: the patches in light, the positions in dark."""
    context = browser.new_context(**WINDOWS[name])
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("#patch-grid .gb-empty")
    talk(page)
    if name == "dark":
        open_tab(page, "Positions")
    else:
        page.locator("#patch-grid .gb-grid").click(position={"x": 200, "y": 180})
    page.mouse.move(2, 2)
    page.wait_for_timeout(500)  # hover effects fade
    page.screenshot(path=FOLDER / f"{name}.png", full_page=name != "light")
    context.close()


def talk(page: Page) -> None:
    page.locator("#examples button").nth(1).click()
    wait_for_turn(page, 1)
    send(page, "What colour is the triangle?")
    wait_for_turn(page, 2)


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_app(Path(folder)) as address,
        sync_playwright() as play,
    ):
        browser = play.chromium.launch(**browser_options())
        for name in WINDOWS:
            take(browser, address, name)
        browser.close()


if __name__ == "__main__":
    main()
