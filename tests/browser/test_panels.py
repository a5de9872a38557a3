"""The panels show what the model saw: cells, positions, time."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from helpers import EXAMPLES, ask_about_circle, cell_facts, example, hover_cell, open_tab
from playwright.sync_api import expect
from served import MODEL

from vlm.families.checkpoint import open_config
from vlm.inputs.media import MediaOptions
from vlm.report import inspect_media


def sequence_of(name: str, prompt: str):
    """What ``python -m vlm inspect`` makes of an example."""
    config, tokenizer = open_config(MODEL)
    return inspect_media([EXAMPLES / name], MODEL, config, tokenizer, prompt, MediaOptions())[1]


def test_a_cell_tells_what_inspect_writes(page):
    ask_about_circle(page)
    sequence = sequence_of("circle.png", "What colour is the circle?")
    (span,) = (span for span in sequence.spans if span.kind == "image")
    row, column = 2, 3
    hover_cell(page, row, column)
    token = span.start + row * span.cells[2] + column
    expect(page.locator("#patch-grid .gb-cell-title")).to_have_text(f"Token {token}")
    t, h, w = sequence.positions[:, token].tolist()
    assert cell_facts(page)["(t, h, w)"] == f"({t}, {h}, {w})"
    left, top, right, bottom = (round(edge) for edge in sequence.media[0].cell_box(row, column))
    assert cell_facts(page)["in the original"] == f"x {left}–{right}, y {top}–{bottom} px"
    assert cell_facts(page)["row, column"].startswith(f"{row + 1} of")


def test_a_held_cell_is_followed_by_the_other_panels(page):
    ask_about_circle(page)
    hover_cell(page, 1, 1)
    page.mouse.down(), page.mouse.up()
    title = page.locator("#patch-grid .gb-cell-title").inner_text()
    hover_cell(page, 3, 3)
    expect(page.locator("#patch-grid .gb-cell-title")).to_have_text(title)
    expect(page.locator("#patch-grid .gb-hold")).to_contain_text("Held")
    open_tab(page, "Positions")
    expect(page.locator("#positions .gb-read")).to_contain_text(title + " ")
    page.locator("#positions .gb-chart").hover(position={"x": 300, "y": 50})
    expect(page.locator("#positions .gb-read")).to_contain_text(title + " ")
    hover_cell(page, 1, 1, "#positions .gb-map")
    page.mouse.down(), page.mouse.up()  # lets go
    hover_cell(page, 0, 0, "#positions .gb-map")
    expect(page.locator("#positions .gb-read")).not_to_contain_text(title + " ")
    open_tab(page, "Patches")
    expect(page.locator("#patch-grid .gb-hold")).not_to_contain_text("Held")


def test_moving_over_heat_maps_draws_none_of_them_again(page):
    """With thousands of cells that would take longer than a frame; only the marks move."""
    ask_about_circle(page)
    open_tab(page, "Positions")
    hover_cell(page, 0, 0, "#positions .gb-map")
    mark = page.locator("#positions .gb-mark").first
    expect(mark).to_be_visible()
    before = mark.bounding_box()
    page.evaluate("() => { CanvasRenderingContext2D.prototype.clearRect = () => { throw 'drawn again'; }; }")
    hover_cell(page, 2, 1, "#positions .gb-map")
    edge = before["width"]
    expect(page.locator("#positions .gb-read")).to_contain_text("image")
    after = mark.bounding_box()
    assert [after[side] - before[side] for side in "xy"] == pytest.approx([edge, 2 * edge], abs=0.1)


def test_cells_can_be_walked_with_the_keyboard(page):
    ask_about_circle(page)
    hover_cell(page, 0, 0)
    first = page.locator("#patch-grid .gb-cell-title").inner_text()
    page.locator("#patch-grid .gb-grid").focus()
    page.keyboard.press("ArrowRight")
    following = int(first.split()[1]) + 1
    expect(page.locator("#patch-grid .gb-cell-title")).to_have_text(f"Token {following}")


def test_layers_can_be_taken_away(page):
    ask_about_circle(page)
    picture = "document.querySelector('#patch-grid .gb-grid').toDataURL()"
    page.mouse.move(5, 5)
    whole = page.evaluate(picture)
    page.locator("#patch-grid .gb-layer", has_text="Patches of").click()
    without = page.evaluate(picture)
    page.locator("#patch-grid .gb-layer", has_text="Cells of").click()
    assert len({whole, without, page.evaluate(picture)}) == 3


def test_a_clip_is_scrubbed_in_temporal_patches(page):
    example(page, "Which way")
    scrub, words = page.locator("#patch-grid .gb-scrub input"), page.locator("#patch-grid .gb-scrub span")
    moments = page.locator("#patch-grid .gb-thumb")
    count = moments.count()
    assert count >= 2
    assert scrub.get_attribute("max") == str(count - 1)
    expect(words).to_contain_text("Temporal patch 1")
    picture = "document.querySelector('#patch-grid .gb-grid').toDataURL()"
    first = page.evaluate(picture)
    scrub.focus()
    page.keyboard.press("ArrowRight")
    expect(words).to_contain_text("Temporal patch 2")
    page.wait_for_function(f"first => {picture} !== first", arg=first)
    moments.first.click()
    expect(words).to_contain_text("Temporal patch 1")
    sequence = sequence_of("moving_circle.mp4", "Which way does the circle move?")
    shown = [float(word) for word in re.findall(r"([\d.]+) s", words.inner_text())]
    assert shown == pytest.approx(sequence.media[0].frame_timestamps[:2], abs=0.0051)  # two decimals


def test_positions_are_listed_searched_and_saved(page):
    ask_about_circle(page)
    open_tab(page, "Positions")
    sequence = sequence_of("circle.png", "What colour is the circle?")
    rows = page.locator("#positions .gb-space .gb-row")
    expect(rows.first).to_be_visible()
    assert rows.first.locator("span").first.inner_text() == "0"
    page.fill("#positions .gb-search", "image")
    expect(page.locator("#positions .gb-found")).to_contain_text(f"{sequence.count('image')} of ")
    page.fill("#positions .gb-search", "no such token")
    expect(rows).to_have_count(0)
    expect(page.locator("#positions .gb-delta")).to_contain_text("rope_delta = −")
    with page.expect_download() as download:
        page.click("#positions .gb-csv")
    with Path(download.value.path()).open(newline="") as file:
        table = list(csv.DictReader(file))
    saved = [[int(row[axis]) for row in table[: len(sequence)]] for axis in "thw"]
    assert saved == sequence.positions.tolist()
    assert [row["kind"] for row in table].count("image") == sequence.count("image")


def test_rotary_frequencies_are_shown_as_the_family_shares_them(page):
    ask_about_circle(page)
    open_tab(page, "Positions")
    decoder = open_config(MODEL)[0].decoder
    letters = "".join(page.locator("#positions .gb-frequencies i").all_inner_texts())
    assert [letters.count(axis) for axis in "thw"] == list(decoder.mrope_section)
    assert letters.startswith("thw") == decoder.mrope_interleaved


def test_the_cost_under_other_families_stands_beside(page):
    ask_about_circle(page)
    open_tab(page, "Tokens")
    rows = page.locator("#tokens [data-family]")
    assert rows.count() == 3
    expect(rows.nth(1)).to_contain_text("Qwen2.5-VL")
    expect(rows.nth(1)).to_contain_text("64")  # 224 / 28 = 8 cells a side
