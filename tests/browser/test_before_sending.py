"""The cost of a question before it is sent, and the sliders that change it."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from helpers import DROP, EXAMPLES, WAIT, attach, hand_over, kinds, open_tab, send, wait_for_turn
from PIL import Image
from playwright.sync_api import Page, expect
from served import MODEL

from vlm.families.checkpoint import open_config
from vlm.inputs.media import open_media
from vlm.inputs.patches import target_size

CIRCLE, CLIP = EXAMPLES / "circle.png", EXAMPLES / "moving_circle.mp4"


def expected_tokens(path) -> int:
    """Merged tokens of a picture, from the model's config."""
    pixels = open_config(MODEL)[0].pixels
    width, height = Image.open(path).size
    return math.prod(target_size("image", 1, height, width, pixels)) // pixels.factor**2


def cost(page: Page) -> int:
    return int(page.locator("#cost [data-tokens]").get_attribute("data-tokens"))


def set_slider(page: Page, label: str, value: float) -> None:
    """As a person who types beside the slider."""
    field = page.locator("#detail").get_by_label(f"number input for {label}")
    field.fill(str(value))
    field.press("Enter")


def test_a_dropped_picture_and_clip_tell_their_cost_at_once(page):
    expect(page.locator("#cost")).to_be_hidden()
    hand_over(page, DROP, "#chat", CIRCLE, CLIP)
    lines = page.locator("#cost li")
    expect(lines).to_have_count(2, timeout=WAIT)
    tokens = expected_tokens(CIRCLE)
    expect(lines.first).to_contain_text("224 × 224")
    expect(lines.first).to_contain_text(f"{tokens} tokens")
    expect(lines.last).to_contain_text("frames at 0.0,")
    expect(page.locator("#cost .gb-sum")).to_contain_text("of 4,096 left" if MODEL == "tiny" else "left")
    expect(page.locator("#cost .gb-sum")).to_contain_text("first word in")
    before = cost(page)
    send(page, "Which way does it move?")
    wait_for_turn(page, 1)
    open_tab(page, "Tokens")
    assert kinds(page)["image"] + kinds(page)["video"] == before
    expect(page.locator("#cost")).to_be_hidden()


@pytest.mark.skipif(MODEL != "tiny", reason="the sliders' values are the embedded model's")
def test_sliders_change_the_cost_and_then_the_turn(page):
    attach(page, CIRCLE, CLIP)
    expect(page.locator("#cost li")).to_have_count(2, timeout=WAIT)
    before = cost(page)
    set_slider(page, "Picture size (px)", 96)
    expect(page.locator("#cost li").first).to_contain_text("9 tokens", timeout=WAIT)
    set_slider(page, "Most frames", 2)
    expect(page.locator("#cost li").last).to_contain_text("2 frames at", timeout=WAIT)
    after = cost(page)
    assert after < before
    send(page, "Which way does it move?")
    wait_for_turn(page, 1)
    open_tab(page, "Tokens")
    assert kinds(page)["image"] + kinds(page)["video"] == after


@pytest.mark.skipif(MODEL != "tiny", reason="the clip's frames are counted for the embedded model")
def test_key_frames_and_guessing_are_chosen_on_the_page(page):
    page.locator("#settings .label-wrap").click()
    attach(page, CIRCLE, CLIP)
    expect(page.locator("#cost li").last).to_contain_text("6 frames at", timeout=WAIT)
    page.locator("#detail").get_by_label("Nearest key frames").check()
    keys = len(open_media(CLIP).clip.keys)
    expect(page.locator("#cost li").last).to_contain_text(f"{keys} frame", timeout=WAIT)
    field = page.locator("#settings").get_by_label("number input for Guess ahead, tokens")
    field.fill("8")
    field.press("Enter")
    send(page, "Which way does it move?")
    wait_for_turn(page, 1)
    open_tab(page, "Run")
    guessed = page.locator('#run [data-stat="Guessed"] dd').first
    expect(guessed).to_have_text(re.compile(r"^\d+ of \d+$"))
    with page.expect_download() as download:
        page.click("#export-json")
    (turn,) = json.loads(Path(download.value.path()).read_text())["turns"]
    assert turn["settings"]["lookup"] == 8 and turn["settings"]["nearest"]
    assert turn["statistics"]["guessed_tokens"] is not None


def test_a_file_that_cannot_be_used_says_so_before_sending(page, tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("no picture\n" * 9)
    attach(page, path)
    expect(page.locator("#cost .gb-problem")).to_contain_text("looks like text", timeout=WAIT)
    page.click("#box .delete-button")
    expect(page.locator("#cost")).to_be_hidden(timeout=WAIT)
