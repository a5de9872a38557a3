"""Does the Lens tab slow the chat? Tokens a second of one answer with the tab open and shut, in turns."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))

from helpers import example, open_tab, wait_for_model, wait_for_turn
from playwright.sync_api import Page, sync_playwright
from served import browser_options, running_app

RUNS = 7


def speed(page: Page, tab: str) -> float:
    open_tab(page, tab)
    page.locator("#clear").click()
    example(page, "Describe")
    return float(re.search(r"([\d,]+) tokens/s", page.locator("#status").inner_text())[1].replace(",", ""))


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        running_app(Path(folder)) as address,
        sync_playwright() as play,
    ):
        page = play.chromium.launch(**browser_options()).new_page()
        page.goto(address)
        wait_for_model(page)
        example(page, "Describe"), wait_for_turn(page, 1)
        found = {"Lens": [], "Patches": []}
        for _ in range(RUNS):
            for tab, speeds in found.items():
                speeds.append(speed(page, tab))
        for tab, speeds in found.items():
            print(f"{tab} open: median {median(speeds):.0f} tokens/s, {min(speeds):.0f} to {max(speeds):.0f}")


if __name__ == "__main__":
    main()
