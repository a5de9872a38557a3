"""Does the Lens tab slow the chat? Tokens a second of one answer with the tab open and shut, in turns.

``python tests/browser/lens_cost.py`` prints a table after two minutes at most.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from statistics import quantiles

sys.path.insert(0, str(Path(__file__).parent))

from helpers import example, open_tab, wait_for_model, wait_for_turn
from playwright.sync_api import Page, sync_playwright
from served import browser_options, running_app

RUNS = 20  # answers with each


def speed(page: Page, tab: str) -> float:
    open_tab(page, tab)
    page.locator("#clear").click()
    example(page, "Describe")
    return float(re.search(r"([\d,]+) tokens/s", page.locator("#status").inner_text())[1].replace(",", ""))


def row(name: str, values: list[float], form: str) -> str:
    low, middle, high = (format(value, form) for value in quantiles(values, n=4))
    return f"| {name} | {middle} | {low}–{high} | {min(values):{form}}–{max(values):{form}} |"


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
    print(f"| tokens/s of {RUNS} answers | median | middle half | least–most |\n|---|---|---|---|")
    for tab, speeds in found.items():
        print(row(f"{tab} open", speeds, ".0f"))
    pairs = [lens / patches for lens, patches in zip(*found.values(), strict=True)]
    print(row("the first by the second, each pair", pairs, ".2f"))


if __name__ == "__main__":
    main()
