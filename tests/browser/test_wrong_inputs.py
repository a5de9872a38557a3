"""What cannot be used is refused in words, and nothing the person typed or chose is lost."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from helpers import EXAMPLES, WAIT, answers, attach, send, wait_for_turn
from playwright.sync_api import Page, expect


def text_named_png(folder: Path) -> Path:
    path = folder / "notes.png"
    path.write_text("This is no picture.\n" * 20)
    return path


def empty_file(folder: Path) -> Path:
    path = folder / "nothing.png"
    path.touch()
    return path


def clip_without_frames(folder: Path) -> Path:
    path = folder / "moment.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width = stream.height = 64
        container.start_encoding()
    return path


def damaged_picture(folder: Path) -> Path:
    path = folder / "half.png"
    whole = (EXAMPLES / "circle.png").read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    return path


def expect_warning(page: Page, *words: str) -> None:
    toast = page.locator(".toast-body").first
    for word in words:
        expect(toast).to_contain_text(word, timeout=WAIT)


@pytest.mark.parametrize("make", [text_named_png, empty_file, clip_without_frames, damaged_picture])
def test_an_unusable_file_changes_nothing(page, tmp_path, make):
    path = make(tmp_path)
    attach(page, path)
    send(page, "What is this?")
    expect_warning(page, path.name)
    expect(page.locator("#box .submit-button")).to_be_visible()
    assert page.input_value("#box textarea") == "What is this?"
    assert page.locator("#box .thumbnail-item").count() == 1
    assert page.locator("#chat .message").count() == 0


def test_no_question_keeps_the_file(page):
    attach(page, EXAMPLES / "circle.png")
    page.press("#box textarea", "Enter")
    expect_warning(page, "Type a question")
    expect(page.locator("#box .submit-button")).to_be_visible()
    assert page.locator("#box .thumbnail-item").count() == 1
    send(page, "What is this?")
    wait_for_turn(page, 1)
    assert answers(page)


def test_a_refused_turn_leaves_the_chat_usable(page, tmp_path):
    page.locator("#examples button").first.click()
    wait_for_turn(page, 1)
    before = answers(page)
    attach(page, text_named_png(tmp_path))
    send(page, "And this?")
    expect_warning(page, "notes.png")
    assert answers(page) == before
    page.click("#box .delete-button")
    send(page, "What shape is it?")
    wait_for_turn(page, 2)
    assert len(answers(page)) == 2
