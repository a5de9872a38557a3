"""What a person does on the page, and what they read there."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

EXAMPLES = Path(__file__).parents[2] / "examples"
WAIT = 60_000  # milliseconds; machines that run tests may be busy


def attach(page: Page, *files: Path) -> None:
    """Pick files with the box's file picker."""
    page.set_input_files("#box input[type=file]", [str(file) for file in files])
    expect(page.locator("#box .thumbnail-item")).to_have_count(len(files), timeout=WAIT)


def send(page: Page, text: str) -> None:
    page.fill("#box textarea", text)
    page.press("#box textarea", "Enter")


def answers(page: Page) -> list[str]:
    """The texts of all answers, oldest first."""
    return page.locator("#chat .message.bot").all_inner_texts()


def wait_for_turn(page: Page, number: int, question: str = "") -> None:
    """Until turn ``number`` is over and its panels are there; ``question`` is how its question begins."""
    shows = "start => document.querySelector('#turn input')?.value.startsWith(start)"
    page.wait_for_function(shows, arg=f"Turn {number}: {question}", timeout=WAIT)
    expect(page.locator("#status [data-state]")).to_have_attribute("data-state", "idle", timeout=WAIT)


def open_tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def total_tokens(page: Page) -> int:
    """Tokens of the whole sequence as the Tokens panel has them."""
    return int(page.locator("#tokens [data-total]").get_attribute("data-total"))


def kinds(page: Page) -> dict[str, int]:
    """Tokens by kind as the Tokens panel shows them."""
    return {
        item.get_attribute("data-kind"): int(item.locator("b").inner_text().replace(",", ""))
        for item in page.locator("#tokens [data-kind]").all()
    }
