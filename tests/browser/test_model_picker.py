"""Another model is loaded from the page; a bad one leaves everything as it was."""

from __future__ import annotations

import re
import shutil

import pytest
from helpers import WAIT, answers, ask_about_circle, open_tab, send, wait_for_model, wait_for_turn
from playwright.sync_api import expect
from served import MODEL, running_app

from vlm.families.naming import TINY


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """An app of its own, for all pages share the model."""
    with running_app(tmp_path_factory.mktemp("picker")) as address:
        yield address


def pick(page, name: str) -> None:
    open_tab(page, "Model")
    field = page.locator("#pick input")
    field.fill(name)
    field.press("Enter")
    page.click("#load")


def test_a_bad_model_fails_with_the_chat_intact(page):
    ask_about_circle(page)
    before = answers(page)
    pick(page, "/nowhere/at-all")
    expect(page.locator("#model-facts .gb-load-note")).to_contain_text(
        "at-all could not be loaded", timeout=WAIT
    )
    expect(page.locator("#load")).to_be_enabled(timeout=WAIT)
    assert answers(page) == before
    send(page, "What shape is it?")
    wait_for_turn(page, 2)
    assert len(answers(page)) == 2


def test_the_page_says_what_the_model_can_do_and_offers_a_better_one(page):
    open_tab(page, "Model")
    if MODEL == "tiny":
        expect(page.locator("#model-facts .gb-can")).to_contain_text("shapes")
        expect(page.locator("#model-facts .gb-cannot")).to_contain_text("photographs")
    expect(page.locator("#offer")).to_have_text(re.compile(r"Qwen/.* GiB"), timeout=WAIT)


def test_a_switch_of_model_keeps_the_chat_and_asks_anew(page, tmp_path):  # the last one: all share the model
    ask_about_circle(page)
    open_tab(page, "Model")
    page.get_by_label("Attention", exact=True).click()
    page.get_by_role("option", name="eager").click()
    page.get_by_label("Quantise", exact=True).click()
    page.get_by_role("option", name="nf4").click()
    other = shutil.copytree(TINY, tmp_path / "another")
    pick(page, str(other))
    expect(page.locator("#header")).to_contain_text("eager", timeout=WAIT)
    expect(page.locator("#model-facts [data-state]")).to_have_attribute("data-state", "ready", timeout=WAIT)
    wait_for_model(page)
    assert len(answers(page)) == 1
    offered = page.locator("#examples button:visible")
    expect(offered.nth(3)).to_have_text("What is written in the picture?", timeout=WAIT)
    expect(offered).to_have_count(6)
    page.locator("#chat button[title=Retry]").click()  # the question and its picture go to the new model
    open_tab(page, "Run")
    expect(page.locator("#run [data-stat=Attention]")).to_contain_text("eager", timeout=WAIT)
    expect(page.locator("#run [data-stat=Quantisation]")).to_contain_text("nf4")
    assert len(answers(page)) == 1
