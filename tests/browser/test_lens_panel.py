"""The Lens, Anatomy and Compare panels, used as a person does."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
from helpers import EXAMPLES, WAIT, attach, example, open_tab, send, wait_for_turn
from PIL import Image
from playwright.sync_api import expect
from served import MODEL

from vlm.chat.session import ChatSession
from vlm.engines import open_engine
from vlm.lens.attention import look
from vlm.lens.subject import Lens
from vlm.lens.words import answer_words

PICTURE = "document.querySelector('#lens .gb-heat').toDataURL()"


@pytest.fixture(scope="module")
def looks():
    """(words, looks) of the library for an example's question."""
    engine = open_engine(MODEL, device="cpu")

    def find(question: str, file: str, heads=None):
        *_, trace = ChatSession(engine).ask(question, [EXAMPLES / file])
        words = answer_words(trace, engine.tokenizer)
        with Lens(engine).subject(trace.sequence) as subject:
            chosen = engine.config.looking_heads if heads is None else heads
            return [word.text for word in words], look(subject, words, chosen)

    return find


def bright(page, cell: int | None = None) -> int:
    """The cell that the panel shows brightest, counted in the frame; waits until it is ``cell``."""
    shown = page.locator("#lens[data-heat], #lens [data-heat]").first
    wanted = re.compile(r"^\d+$") if cell is None else str(cell)
    expect(shown).to_have_attribute("data-heat", wanted, timeout=WAIT)
    return int(shown.get_attribute("data-heat"))


def hover_lens(page, row: int, column: int) -> None:
    rows, columns = map(int, page.locator("#lens .gb-heat").get_attribute("data-rows").split("×"))
    box = page.locator("#lens .gb-heat").bounding_box()
    x, y = box["x"] + (column + 0.5) * box["width"] / columns, box["y"] + (row + 0.5) * box["height"] / rows
    page.mouse.move(x, y)


def open_lens(page):
    open_tab(page, "Lens")
    words = page.locator("#lens .gb-word")
    expect(words.first).to_be_visible(timeout=WAIT)
    return words


def changed(page, before: str) -> str:
    page.wait_for_function(f"before => {PICTURE} !== before", arg=before, timeout=WAIT)
    return page.evaluate(PICTURE)


def test_words_cells_and_heads(page, looks, tmp_path):
    example(page, "Describe")
    words = open_lens(page)
    texts, found = looks("Describe the picture.", "shapes.png")
    assert words.all_inner_texts() == texts
    for index in (3, 12, 21):  # square, triangle, heart
        words.nth(index).hover()
        expect(words.nth(index)).to_have_class(re.compile("gb-at"))
        bright(page, int(found.maps[index].argmax()))
    words.nth(3).click()  # holds
    words.nth(12).hover()
    expect(words.nth(3)).to_have_class(re.compile("gb-at"))
    expect(page.locator("#lens .gb-word-line")).to_contain_text("Held")
    held = page.evaluate(PICTURE)

    nav = page.locator("#lens .gb-nav")
    box = nav.bounding_box()
    nav.click(position={"x": box["width"] * 3.5 / 6, "y": box["height"] * 4.5 / 6})
    expect(page.locator("#lens .gb-nav-line")).to_contain_text("Layer 5, head 4")
    alone = changed(page, held)
    _, one = looks("Describe the picture.", "shapes.png", [(4, 3)])
    bright(page, int(one.maps[3].argmax()))
    share = float(re.search(r"([\d.]+) %", page.locator("#lens .gb-nav-line").inner_text())[1])
    assert abs(share - 100 * one.shares[4, 3, 3]) < 1
    nav.click(position={"x": box["width"] * 0.5 / 6, "y": box["height"] * 0.5 / 6}, modifiers=["Shift"])
    _, two = looks("Describe the picture.", "shapes.png", [(4, 3), (0, 0)])
    bright(page, int(two.maps[3].argmax()))
    nav.click(position={"x": box["width"] * 0.5 / 6, "y": box["height"] * 0.5 / 6}, modifiers=["Shift"])
    expect(page.locator("#lens .gb-nav-line")).to_contain_text("Layer 5, head 4")
    page.locator("#lens .gb-normal").check()
    changed(page, alone)
    page.locator("#lens .gb-normal").uncheck()
    page.locator("#lens [data-heads=chosen]").click()

    # the other way round: the words that looked at a cell
    row, column = divmod(int(found.maps[3].argmax()), 6)
    hover_lens(page, row, column)
    page.mouse.down(), page.mouse.up()
    expect(page.locator("#lens .gb-word-line")).to_contain_text("tinted")
    tinted = page.evaluate(
        "[...document.querySelectorAll('#lens .gb-word')].map((word) => word.style.background !== '')"
    )
    column_of = found.maps[:, row * 6 + column]
    assert tinted[int(column_of.argmax())] and not tinted[int(column_of.argmin())]
    expect(page.locator("#lens .gb-read")).to_contain_text("of the word's attention")

    page.locator("#lens .gb-tint").check()
    expect(page.locator("#lens .gb-word-line")).to_contain_text("% sure", timeout=WAIT)
    lines = table(saved(page, "#lens [data-save=csv]"))
    assert "".join(line["token"] for line in lines) == "".join(texts)
    assert all(0 < float(line["probability"]) <= 1 for line in lines)
    page.locator("#lens .gb-tint").uncheck()

    page.locator("#lens [data-mode=cells]").click()  # the held cell
    expect(page.locator("#lens .gb-nearest dd")).to_have_count(8, timeout=WAIT)
    expect(page.locator("#lens .gb-nearest dt").nth(1)).to_have_text("tap 1")
    lines = table(saved(page, "#lens [data-save=csv]"))
    assert len(lines) == 8 * 5 and [line["stage"] for line in lines[::5]][:3] == [
        "connector",
        "tap 1",
        "layer 1",
    ]
    page.locator("#lens [data-mode=tower]").click()
    hover_lens(page, row, column)
    page.mouse.down(), page.mouse.up()
    expect(page.locator("#lens .gb-tower-line")).to_contain_text("whole frame", timeout=WAIT)
    before = page.evaluate(PICTURE)
    page.select_option("#lens .gb-block-pick", "0")
    changed(page, before)
    lines = table(saved(page, "#lens [data-save=csv]"))
    assert len(lines) == 144 and abs(sum(float(line["attention"]) for line in lines) - 1) < 144 / 255

    page.locator("#lens [data-mode=words]").click()
    files = {kind: saved(page, f"#lens [data-save={kind}]") for kind in ("png", "csv", "npz")}
    assert Image.open(io.BytesIO(files["png"])).size == (224, 224)
    assert len(table(files["csv"])) == len(texts) * 36
    maps = np.load(io.BytesIO(files["npz"]))["maps"]
    assert maps.shape == found.maps.shape
    # The page's cache was filled in other pieces than ours, in bfloat16: near, not the same.
    assert np.corrcoef(maps.ravel(), found.maps.ravel())[0, 1] > 0.999


@pytest.fixture
def export(page, browser, tmp_path):
    """``export()`` → the page's export in a browser of its own, without any network."""
    context, errors = browser.new_context(offline=True, accept_downloads=True), []

    def open_export():
        with page.expect_download() as download:
            page.click("#export-html")
        file = tmp_path / "chat.html"
        download.value.save_as(file)
        alone = context.new_page()
        alone.on("pageerror", lambda error: errors.append(str(error)))
        alone.goto(file.as_uri())
        return alone

    yield open_export
    context.close()
    assert not errors


def saved(page, selector: str) -> bytes:
    """The file that a button saves."""
    with page.expect_download() as download:
        page.click(selector)
    return Path(download.value.path()).read_bytes()


def table(file: bytes) -> list[dict]:
    return list(csv.DictReader(io.StringIO(file.decode())))


def test_a_clip_is_scrubbed_and_the_export_works_alone(page, looks, export):
    example(page, "Which way")
    open_lens(page)
    _, found = looks("Which way does the circle move?", "moving_circle.mp4")
    scrub, each = page.locator("#lens .gb-scrub input"), []
    scrub.focus()
    count = int(scrub.get_attribute("max")) + 1
    frames = found.maps[0].reshape(count, -1)
    for frame in range(count):
        expect(page.locator("#lens .gb-scrub span")).to_contain_text(f"Moment {frame + 1} of {count}")
        bright(page, int(frames[frame].argmax()))
        each.append(page.evaluate(PICTURE))
        page.keyboard.press("ArrowRight")
    assert len(set(each)) == count
    alone = export()
    alone.click("[data-panel=lens]")
    expect(alone.locator("#lens .gb-word").first).to_be_visible()
    bright(alone, int(frames[0].argmax()))
    alone.click("[data-panel=anatomy]")
    expect(alone.locator("#anatomy .gb-stage-box").first).to_contain_text("Files")
    expect(alone.locator("[data-panel=compare]")).to_have_count(0)


@pytest.fixture
def wide(tmp_path):
    """A picture that the model sees in other proportions: 224 × 128 of 320 × 200."""
    file = tmp_path / "wide.png"
    Image.open(EXAMPLES / "shapes.png").convert("RGB").resize((320, 200)).save(file)
    return file


def drawn_on(png: bytes, original: Path) -> np.ndarray:
    """Which pixels of the saved drawing are not the file's own."""
    drawing, file = (Image.open(source).convert("RGB") for source in (io.BytesIO(png), original))
    assert drawing.size == file.size
    return (np.asarray(drawing) != np.asarray(file)).any(-1)


def test_boxes_anatomy_and_two_settings(page, wide, export):
    attach(page, wide)
    send(page, "Describe the picture.")
    wait_for_turn(page, 1)
    send(page, "Give the bounding box of the heart.")
    wait_for_turn(page, 2)
    open_lens(page)
    page.locator("#lens [data-mode=boxes]").click()
    region = page.locator("#lens .gb-regions li")
    expect(region).to_contain_text("box: x")
    expect(page.locator("#lens .gb-raw")).to_contain_text("bbox_2d")
    shape = page.locator("#lens .gb-heat").bounding_box()
    assert abs(shape["width"] / shape["height"] - 1.6) < 0.01  # the file's proportions
    expect(page.locator("#lens .gb-read")).to_have_text(
        "Drawn on the picture itself, 320 × 200 px.", timeout=WAIT
    )
    box = saved(page, "#lens [data-save=png]")
    [line] = table(saved(page, "#lens [data-save=csv]"))
    assert (line["medium"], line["kind"]) == ("wide.png", "box")
    changed = np.argwhere(drawn_on(box, wide))  # nothing but the box and its number, on the file's own pixels
    _, right, _, bottom = map(int, re.findall(r"\d+", region.inner_text()))
    assert len(changed) < 0.2 * 320 * 200
    assert abs(changed[:, 1].max() - right) <= 4 and abs(changed[:, 0].max() - bottom) <= 4
    open_tab(page, "Anatomy")
    tower = page.locator("#anatomy [data-stage=Tower]")
    expect(tower).to_contain_text("parameters", timeout=WAIT)
    tower.locator("summary").first.click()
    expect(tower).to_contain_text("patch_embed")
    expect(page.locator("#anatomy .gb-families")).to_contain_text("RMSNorm")
    lines = table(saved(page, "#anatomy [data-save=stages]"))
    assert [line["shape"] for line in lines][:2] == ["1 × 200 × 320 × 3", "112 × 1536"]
    lines = {line["aspect"]: line for line in table(saved(page, "#anatomy [data-save=families]"))}
    assert lines["Tower norm"]["Qwen2.5-VL"] == "RMSNorm" and lines["Tower norm"]["differs"] == "yes"
    assert Image.open(io.BytesIO(saved(page, "#anatomy [data-save=png]"))).width == 820
    open_tab(page, "Compare")
    page.click("#compare-go")
    expect(page.locator("#compare .gb-compared")).to_have_count(2, timeout=WAIT)
    tokens = page.locator("#compare .gb-figures tr", has_text="Vision tokens").locator("td")
    assert tokens.all_inner_texts()[1:] == ["28", "6"]
    files = {kind: saved(page, f"#compare [data-save={kind}]") for kind in ("png", "csv", "npz")}
    assert Image.open(io.BytesIO(files["png"])).width == 3 * 24 + 2 * 520
    lines = {name: values for name, *values in csv.reader(io.StringIO(files["csv"].decode()))}
    assert lines["Vision tokens"] == ["28", "6"] and "bbox_2d" in lines["Answer"][0]
    maps = np.load(io.BytesIO(files["npz"]))
    assert (maps["maps_0"].shape[1], maps["maps_1"].shape[1]) == (28, 6)

    alone = export()
    alone.click("[data-panel=lens]")
    alone.locator("#lens [data-mode=boxes]").click()
    expect(alone.locator("#lens .gb-regions li")).to_contain_text("box: x")
    expect(alone.locator("#lens .gb-read")).to_contain_text("itself, 320 × 200 px")
    assert saved(alone, "#lens [data-save=png]") == box
    alone.locator("#lens [data-mode=cells]").click()
    alone.locator("#lens .gb-heat").click(position={"x": 60, "y": 60})
    expect(alone.locator("#lens .gb-nearest dd")).to_have_count(8)
    alone.locator("#lens [data-mode=tower]").click()
    alone.locator("#lens .gb-heat").click(position={"x": 60, "y": 60})
    expect(alone.locator("#lens .gb-tower-line")).to_contain_text("whole frame")
    expect(alone.locator("#lens .gb-picks:visible")).to_have_count(0)  # other heads would need the model
    alone.click("[data-panel=compare]")
    expect(alone.locator("#compare .gb-compared")).to_have_count(2)
    assert saved(alone, "#compare [data-save=csv]") == files["csv"]
    assert len(saved(alone, "#compare [data-save=png]")) > 10_000
    expect(alone.locator("#compare [data-save=npz]")).to_be_hidden()
    alone.locator("#talk .look").first.click()
    expect(alone.locator("#compare")).to_contain_text("was not compared")
