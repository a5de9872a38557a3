"""What a person does on the page, and what they read there."""

from __future__ import annotations

import base64
from pathlib import Path

from playwright.sync_api import Page, expect

EXAMPLES = Path(__file__).parents[2] / "examples"
WAIT = 60_000  # milliseconds; machines that run tests may be busy

DROP = """([names, datas, selector]) => {
  const transfer = new DataTransfer();
  names.forEach((name, i) => {
    const bytes = Uint8Array.from(atob(datas[i]), (c) => c.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type: name.endsWith("mp4") ? "video/mp4" : "image/png" }));
  });
  const target = document.querySelector(selector);
  for (const type of ["dragenter", "dragover", "drop"])
    target.dispatchEvent(new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""

PASTE = """([names, datas, selector]) => {
  const clipboardData = new DataTransfer();
  names.forEach((name, i) => {
    const bytes = Uint8Array.from(atob(datas[i]), (c) => c.charCodeAt(0));
    clipboardData.items.add(new File([bytes], name, { type: "image/png" }));
  });
  const target = document.querySelector(selector);
  target.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
}"""


def wait_for_model(page: Page) -> None:
    expect(page.locator("#header .gb-model")).to_contain_text("parameters", timeout=WAIT)


def attach(page: Page, *files: Path) -> None:
    """Pick files with the box's file picker."""
    page.set_input_files("#box input[type=file]", [str(file) for file in files])
    expect(page.locator("#box .thumbnail-item")).to_have_count(len(files), timeout=WAIT)


def hand_over(page: Page, gesture: str, selector: str, *files: Path) -> None:
    """Drop or paste files somewhere on the page."""
    datas = [base64.b64encode(file.read_bytes()).decode() for file in files]
    page.evaluate(gesture, [[file.name for file in files], datas, selector])
    expect(page.locator("#box .thumbnail-item")).to_have_count(len(files), timeout=WAIT)


def send(page: Page, text: str) -> None:
    page.fill("#box textarea", text)
    page.press("#box textarea", "Enter")


def example(page: Page, question: str) -> None:
    """Click the example that begins so and wait for its answer."""
    page.locator("#examples button", has_text=question).first.click()
    wait_for_turn(page, 1, question)


def ask_about_circle(page: Page) -> None:
    """One turn about a picture."""
    attach(page, EXAMPLES / "circle.png")
    send(page, "What colour is the circle?")
    wait_for_turn(page, 1)


def answers(page: Page) -> list[str]:
    """The texts of all answers, oldest first."""
    return page.locator("#chat .message.bot").all_inner_texts()


def questions(page: Page) -> list[str]:
    """The texts of all questions, oldest first; those of their files are empty."""
    texts = page.locator("#chat .message.user").all_inner_texts()
    return [text.strip() for text in texts if text.strip()]


def wait_for_turn(page: Page, number: int, question: str = "") -> None:
    """Until turn ``number`` is over and its panels are there; ``question`` is how its question begins."""
    shows = "start => document.querySelector('#turn input')?.value.startsWith(start)"
    page.wait_for_function(shows, arg=f"Turn {number}: {question}", timeout=WAIT)
    expect(page.locator("#status [data-state]")).to_have_attribute("data-state", "idle", timeout=WAIT)


def open_tab(page: Page, name: str) -> None:
    tab = page.get_by_role("tab", name=name, exact=True)
    if tab.count() == 0:  # a phone has no room for all
        page.get_by_role("button", name="More tabs").click()
        tab = page.locator("#panels .overflow-dropdown").get_by_role("button", name=name, exact=True)
    tab.click()


def total_tokens(page: Page) -> int:
    """Tokens of the whole sequence as the Tokens panel has them."""
    return int(page.locator("#tokens [data-total]").get_attribute("data-total"))


def reused_tokens(page: Page) -> int:
    return int(page.locator("#tokens [data-reused]").get_attribute("data-reused"))


def kinds(page: Page) -> dict[str, int]:
    """Tokens by kind as the Tokens panel shows them."""
    return {
        item.get_attribute("data-kind"): int(item.locator("b").inner_text().replace(",", ""))
        for item in page.locator("#tokens [data-kind]").all()
    }


def cell_facts(page: Page) -> dict[str, str]:
    """What the Patches panel tells of the cell that is looked at."""
    names = page.locator("#patch-grid .gb-facts dt").all_inner_texts()
    return dict(zip(names, page.locator("#patch-grid .gb-facts dd").all_inner_texts(), strict=True))


def hover_cell(page: Page, row: int, column: int, selector: str = "#patch-grid .gb-grid") -> None:
    """Move the mouse to the middle of a merged cell; the grid tells its size in cells."""
    rows, columns = (
        int(part) for part in page.locator("#patch-grid [data-rows]").get_attribute("data-rows").split("×")
    )
    box = page.locator(selector).first.bounding_box()
    page.mouse.move(
        box["x"] + (column + 0.5) * box["width"] / columns, box["y"] + (row + 0.5) * box["height"] / rows
    )
