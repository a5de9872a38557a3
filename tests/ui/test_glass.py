"""What the lens panels may ask of the service, and what hostile requests get."""

from __future__ import annotations

import base64
import csv
import gc
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ui import compare, export
from ui.compare import SAME, _choice
from ui.examples import FOLDER
from ui.service import Choice, Refused, Service, Working, backend
from ui.service.baking import PATCHES, baked
from ui.service.glass import GONE, OTHER, WORDS
from ui.state import Ask, Settings, UserSession
from vlm.chat.session import Engine
from vlm.lens.attention import look
from vlm.lens.subject import Lens
from vlm.lens.words import answer_words


@pytest.fixture
def service(tiny):
    service = Service(Engine(tiny.model, tiny.tokenizer, "tiny"))
    service._facts = backend.facts(service.engine)
    return service


@pytest.fixture
def user(service):
    return UserSession()


@pytest.fixture
def asked(service, user):
    """``asked(text, *files)`` → the run of a real turn."""

    def ask(text, *files):
        user.begin()
        *_, last = service.turn(user, Ask(text, tuple(str(FOLDER / file) for file in files)))
        user.end()
        return last.run

    return ask


def numbers(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.uint8)


def test_maps_are_the_librarys_in_255_steps(service, asked):
    run = asked("Describe the picture.", "shapes.png")
    ask = {"run": run.run_id}
    opened = service.glass.ask(ask | {"what": "open"})
    words = answer_words(run.trace, service.engine.tokenizer)
    assert opened["words"] == [word.text for word in words] and opened["layers"] == 6
    for how, heads in (("mean", None), ("mean", "all"), ("max", [[4, 0], [5, 3]])):
        got = service.glass.ask(ask | {"what": "look", "first": 0, "heads": heads, "how": how})
        with Lens(service.engine).subject(run.trace.sequence) as subject:
            chosen = {None: service.engine.config.looking_heads, "all": ()}
            pairs = chosen.get(heads, heads) if not isinstance(heads, list) else heads
            looks = look(subject, words, [tuple(pair) for pair in pairs], how)
        for row, map_ in zip(looks.maps, got["maps"], strict=True):
            assert np.abs(numbers(map_["shades"]) / 255 * map_["top"] - row).max() <= map_["top"] / 254
        shares = numbers(got["shares"]).reshape(len(words), 6, 6).transpose(1, 2, 0)
        assert np.abs(shares / 255 - looks.shares).max() <= 1 / 254


def test_the_other_instruments_answer(service, asked):
    run = asked("Give the bounding box of the heart.", "shapes.png")
    ask = {"run": run.run_id}
    sure = service.glass.ask(ask | {"what": "sure", "first": 0})["sure"]
    assert all(0 < word["probability"] <= 1 for word in sure)
    stages = service.glass.ask(ask | {"what": "cell", "medium": 0, "cell": 9})["stages"]
    assert [name for name, _ in stages][:3] == ["connector", "tap 1", "layer 1"]
    assert all(len(words) == 5 for _, words in stages)
    patch = service.glass.ask(
        ask | {"what": "patch", "medium": 0, "frame": 0, "row": 3, "column": 4, "block": 2, "head": 1}
    )
    assert len(numbers(patch["shades"])) == 144 and numbers(patch["inside"]).all()
    anatomy = service.glass.ask(ask | {"what": "stages"})
    assert [stage["name"] for stage in anatomy["stages"]][2:4] == ["Tower", "Connector"]
    assert len(anatomy["families"][0][1]) == 4


def test_files_hold_every_word(service, asked):
    run = asked("What colour is the circle?", "circle.png")
    ask = {"run": run.run_id, "what": "file", "heads": "all", "how": "mean"}
    text = base64.b64decode(service.glass.ask(ask | {"kind": "csv"})["base64"]).decode()
    lines = list(csv.DictReader(io.StringIO(text)))
    words = answer_words(run.trace, service.engine.tokenizer)
    assert len(lines) == 36 * len(words) and lines[0]["medium"] == "circle.png"
    stored = np.load(io.BytesIO(base64.b64decode(service.glass.ask(ask | {"kind": "npz"})["base64"])))
    assert stored["maps"].shape == (len(words), 36)


def test_boxes_lie_on_the_files_themselves(service, asked, tmp_path):
    wide, tall = tmp_path / "wide.png", tmp_path / "tall.png"
    for file, size, colour in ((wide, (320, 200), "red"), (tall, (90, 250), "blue")):
        Image.new("RGB", size, colour).save(file)
    asked("What is this?", wide)
    run = asked("Give the bounding box of the circle.", tall, "moving_circle.mp4")
    assert [Path(file).name for file in run.files] == ["wide.png", "tall.png", "moving_circle.mp4"]
    request = {"run": run.run_id, "what": "original", "frame": 0}
    for medium, size, colour in ((0, (320, 200), (255, 0, 0)), (1, (90, 250), (0, 0, 255))):
        picture = picture_of(service.glass.ask(request | {"medium": medium})["image"])
        assert picture.size == size and picture.getpixel((5, 5)) == colour
    moments = [service.glass.ask(request | {"medium": 2, "frame": frame})["image"] for frame in range(3)]
    assert len(set(moments)) == 3 and picture_of(moments[0]).size == (224, 224)
    found = baked(service.glass, run)
    assert {key.split(",")[0] for key in found["original"]} == {"0", "1", "2"}  # the answer names a box
    # Of the newest medium, where it is small, also what its cells say and where its patches look.
    clip = run.trace.sequence.media[2]
    assert len(found["cell"]) == clip.tokens <= WORDS
    assert len(found["patch"]) == clip.grid_thw[1] * clip.grid_thw[2] <= PATCHES  # of its first moment
    alone = asked("Describe the picture.", "shapes.png")
    found = baked(service.glass, alone)
    newest = len(alone.trace.sequence.media) - 1
    assert len(found["cell"]) == 36 and len(found["patch"]) == 144
    of = {"run": alone.run_id, "medium": newest}
    one = service.glass.ask(of | {"what": "cell", "cell": 9})["stages"]
    for (stage, words), (same, close) in zip(found["cell"][f"{newest},9"]["stages"], one, strict=True):
        assert stage == same and words[0][0] == close[0][0]  # read together: other sums, the same words
    where = {"frame": 0, "row": 3, "column": 4, "block": 5}
    assert found["patch"][f"{newest},0,3,4,5"] == service.glass.ask(of | {"what": "patch"} | where)
    tall.unlink()
    assert "no longer there" in service.glass.ask(request | {"medium": 1})["error"]
    assert "1,0" not in baked(service.glass, run)["original"]


def picture_of(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")


HOSTILE = [
    None, [], "x", 7, {}, {"run": None}, {"run": ["a"]}, {"run": "guess", "what": "open"}, {"run": {}},
    {"what": "_engine"}, {"what": []}, {"what": {}}, {"what": "look", "heads": 5},
    {"what": "look", "heads": [["a", "b"]]}, {"what": "look", "heads": [[99, 0]]},
    {"what": "look", "heads": [[1]]},    {"what": "look", "heads": [[-1, -1]]},
    {"what": "look", "first": "x"}, {"what": "look", "first": 10**9},
    {"what": "look", "first": None}, {"what": "sides"}, {"what": "cell"},
    {"what": "cell", "medium": 9, "cell": 0},
    {"what": "cell", "medium": 0, "cells": 37}, {"what": "cell", "medium": 0, "cells": 0},
    {"what": "cell", "medium": 0, "cell": -1}, {"what": "cell", "medium": 0, "cell": 10**12},
    {"what": "cell", "medium": "0x", "cell": 1}, {"what": "patch"}, {"what": "original"},
    {"what": "original", "medium": -1, "frame": 0}, {"what": "original", "medium": 0, "frame": 9},
    {"what": "original", "medium": 0, "frame": 0, "longest": "wide"},
    {"what": "patch", "medium": 0, "frame": 5, "row": 0, "column": 0, "block": 0},
    {"what": "patch", "medium": 0, "frame": 0, "row": 99, "column": 0, "block": 0},
    {"what": "patch", "medium": 0, "frame": 0, "row": 0, "column": 0, "block": 77},
    {"what": "patch", "medium": 0, "frame": 0, "row": 0, "column": 0, "block": 0, "head": 50},
]  # fmt: skip


def test_hostile_requests_are_refused_in_words(service, asked):
    run = asked("What colour is the circle?", "circle.png")
    for request in HOSTILE:
        if isinstance(request, dict) and "what" in request and "run" not in request:
            request = {"run": run.run_id, **request}
        got = service.glass.ask(request)
        assert got.keys() == {"error"} and "Traceback" not in got["error"], request
    assert service.glass.ask({"run": "guess", "what": "look"}) == {"error": GONE}
    assert "maps" in service.glass.ask({"run": run.run_id, "what": "look"})


def test_a_turn_without_a_picture_has_nothing_to_look_at(service, asked):
    run = asked("Hello")
    assert "no picture" in service.glass.ask({"run": run.run_id, "what": "look"})["error"]


def test_a_turn_of_a_model_that_is_gone(service, asked, user, tiny):
    run = asked("What colour is the circle?", "circle.png")
    assert "maps" in service.glass.ask({"run": run.run_id, "what": "look"})
    user.part()
    service.glass.forget()
    service.engine = Engine(tiny.model, tiny.tokenizer, "tiny")
    gc.collect()
    assert service.glass.ask({"run": run.run_id, "what": "look"}) == {"error": OTHER}


def test_a_turn_under_other_settings(service, asked, user):
    run = asked("What colour is the circle?", "circle.png")
    with pytest.raises(Refused, match="Change something"):
        list(service.compare(user, run.run_id, Settings(), None))
    with pytest.raises(Refused, match="no longer kept"):
        list(service.compare(UserSession(), run.run_id, Settings(edge=96), None))
    *working, last = service.compare(
        user, run.run_id, Settings(edge=96), Choice(quantize="nf4", device="cpu")
    )
    assert all(isinstance(told, Working) for told in working) and any("loading" in t.text for t in working)
    left, right = last["sides"]
    assert (left["figures"]["Vision tokens"], right["figures"]["Vision tokens"]) == (36, 9)
    assert (left["figures"]["Quantisation"], right["figures"]["Quantisation"]) == ("none", "nf4")
    assert len(numbers(right["maps"][0]["shades"])) == 9 and left["label"] == "As it was"
    assert right["label"] == "96 px, tiny, nf4" and len(user.exchanges) == 1
    # What was found stays with the turn: on the page, as files, and in the export.
    assert compare.render(run) == {"run": run.run_id, **last}
    stored = np.load(
        io.BytesIO(base64.b64decode(service.glass.ask({"run": run.run_id, "what": "sides"})["base64"]))
    )
    assert stored["maps_0"].shape[1] == 36 and stored["maps_1"].shape[1] == 9
    page = export.page(user.exchanges, service.run)["text"]
    assert 'data-panel="compare"' in page and right["maps"][0]["shades"] in page
    run.sides.clear()
    assert 'data-panel="compare"' not in export.page(user.exchanges, service.run)["text"]


def test_a_follow_up_is_compared_after_what_was_said_before(service, asked, user, monkeypatch):
    asked("Describe the picture.", "shapes.png")
    run = asked("Which of them is red?")
    assert len(user.exchanges) == 2
    *_, last = service.compare(user, run.run_id, Settings(edge=96), None)
    left, right = run.sides
    # The same tokens, though nothing of the chat's own cache was used; on the right a smaller picture.
    assert left.trace.sequence.ids.tolist() == run.trace.sequence.ids.tolist()
    assert (
        left.trace.stats["reused_tokens"] == 0 and last["sides"][0]["figures"]["Vision, ms"] == "remembered"
    )
    assert right.trace.sequence.count("text") == run.trace.sequence.count("text")
    assert right.trace.sequence.count("image") == 9
    # Where all that does not fit, the oldest turns are left out.
    context = len(run.trace.sequence) - 40
    config = service.engine.config
    decoder = replace(config.decoder, context_length=context)
    monkeypatch.setattr(service.engine.model, "config", replace(config, decoder=decoder))
    list(service.compare(user, run.run_id, Settings(edge=160), None))
    assert len(run.sides[0].trace.sequence) < context and not run.sides[0].trace.sequence.media


def test_what_the_right_side_runs_on(service):
    assert _choice(service, SAME, SAME) is None
    assert _choice(service, SAME, "nf4") == Choice(quantize="nf4")
    assert _choice(service, "some/model", SAME).model == "some/model"
