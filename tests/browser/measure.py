"""Times the page in the browser: ``python tests/browser/measure.py``. Figures depend on the machine."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from helpers import WAIT, open_tab, send, wait_for_model, wait_for_turn
from playwright.sync_api import Browser, Page, sync_playwright
from served import browser_options, running_app

MOVES = """(selector) => {
  const canvas = document.querySelector(selector), box = canvas.getBoundingClientRect(), times = [];
  for (let i = 0; i < 300; i++) {
    const x = box.left + ((i * 37) % 400) / 400 * box.width;
    const y = box.top + ((i * 61) % 400) / 400 * box.height;
    const init = { bubbles: true, clientX: x, clientY: y };
    const start = performance.now();
    canvas.dispatchEvent(new PointerEvent("pointermove", init));
    canvas.getContext("2d").getImageData(0, 0, 1, 1); // so that nothing of it is put off: not the drawing,
    document.querySelector("#panels").getBoundingClientRect(); // nor the layout
    times.push(performance.now() - start);
  }
  return times;
}"""


def hover(page: Page, selector: str) -> str:
    times = sorted(page.evaluate(MOVES, selector))
    slow = sum(time > 16 for time in times)
    return f"median {statistics.median(times):.2f} ms, slowest {times[-1]:.2f} ms, {slow} of 300 above 16 ms"


def large(browser: Browser) -> None:
    """Hover and update with 16,384 vision tokens."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_app(Path(folder), "tests/browser/large_app.py") as address,
    ):
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(address)
        wait_for_model(page)
        send(page, "What is it?")
        wait_for_turn(page, 1)
        print("update of the panels after the answer:", updates(page))
        print("hover over 16,384 cells:", hover(page, "#patch-grid .gb-grid"))
        open_tab(page, "Positions")
        page.wait_for_timeout(500)
        print("hover over their heat maps:", hover(page, "#positions .gb-map"))
        print("hover over the lines:", hover(page, "#positions .gb-chart"))


def updates(page: Page) -> str:
    """Between the last message that only writes and the panels of the turn, three times."""
    taken = []
    for number in (2, 3, 4):
        page.evaluate("""(label) => {
          window.taken = null;
          let wrote = 0;
          const tick = () => {
            const state = document.querySelector("#status [data-state]");
            if (state.dataset.state === "working") wrote = performance.now();
            const shown = document.querySelector("#turn input")?.value.startsWith(label);
            if (wrote && shown && state.dataset.state === "idle") window.taken = performance.now() - wrote;
            else requestAnimationFrame(tick);
          };
          tick();
        }""", f"Turn {number}:")  # fmt: skip
        send(page, "Again?")
        page.wait_for_function("window.taken", timeout=WAIT)
        wait_for_turn(page, number)
        taken.append(page.evaluate("window.taken"))
    return ", ".join(f"{value:.0f} ms" for value in taken)


def ready(browser: Browser) -> None:
    """From ``python app.py`` to a page that can be typed into, and to the model behind it."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, running_app(Path(folder)) as address:
        served = time.monotonic() - began
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("#box textarea")
        shown = time.monotonic() - began
        wait_for_model(page)
        model = time.monotonic() - began
    print(f"python app.py: serves after {served:.1f} s, page after {shown:.1f} s, model after {model:.1f} s")


def main() -> None:
    with sync_playwright() as play:
        browser = play.chromium.launch(**browser_options())
        ready(browser)
        large(browser)
        browser.close()


if __name__ == "__main__":
    main()
