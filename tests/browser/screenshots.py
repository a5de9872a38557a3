"""Takes the pictures of the README: ``make screenshots`` writes docs/screenshots/*.png."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from helpers import EXAMPLES, attach, example, hover_cell, open_tab, send, wait_for_model, wait_for_turn
from playwright.sync_api import Browser, Page, sync_playwright
from served import ROOT, browser_options, running_app

FOLDER = ROOT / "docs" / "screenshots"
WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


def light(page: Page) -> None:
    """Two turns about a picture, and a held cell."""
    example(page, "How many")
    send(page, "What colour is the triangle?")
    wait_for_turn(page, 2)
    hover_cell(page, 1, 1)
    page.mouse.down(), page.mouse.up()


def dark(page: Page) -> None:
    light(page)
    open_tab(page, "Positions")


def before(page: Page) -> None:
    """Files that wait, with their cost, and a clip's patches."""
    example(page, "Which way")
    page.locator("#patch-grid .gb-thumb").nth(1).click()
    attach(page, EXAMPLES / "shapes.png", EXAMPLES / "moving_circle.mp4")
    page.wait_for_selector("#cost li")
    page.fill("#box textarea", "What do these have in common?")


def tokens(page: Page) -> None:
    light(page)
    open_tab(page, "Tokens")


def narrow(page: Page) -> None:
    light(page)


WINDOWS = {
    light: {"viewport": WIDE},
    dark: {"viewport": WIDE, "color_scheme": "dark"},
    before: {"viewport": WIDE},
    tokens: {"viewport": WIDE},
    narrow: {"viewport": PHONE},
}


def take(browser: Browser, address: str, scene) -> None:
    context = browser.new_context(**WINDOWS[scene])
    page = context.new_page()
    page.goto(address)
    wait_for_model(page)
    scene(page)
    page.mouse.move(2, 2)
    page.wait_for_timeout(500)  # hover effects fade
    page.screenshot(path=FOLDER / f"{scene.__name__}.png", full_page=scene is narrow)
    context.close()


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_app(Path(folder)) as address,
        sync_playwright() as play,
    ):
        browser = play.chromium.launch(**browser_options())
        for scene in WINDOWS:
            take(browser, address, scene)
        browser.close()


if __name__ == "__main__":
    main()
