"""Words, sinks, normalised maps, architecture, comparison and files, on the embedded model."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from vlm.families.checkpoint import open_config
from vlm.inputs.media import MediaOptions
from vlm.lens.architecture import differences, module_tree, stages
from vlm.lens.attention import Looks, look, medium_cells
from vlm.lens.compare import ask_side, figures
from vlm.lens.confidence import confidence, word_probability
from vlm.lens.export import (
    cell_map,
    heat_picture,
    region_picture,
    sides_picture,
    write_csv,
    write_npz,
    write_sides_csv,
    write_sides_npz,
)
from vlm.lens.regions import Region
from vlm.lens.subject import Lens
from vlm.lens.words import answer_words, raw_answer
from vlm.models.model import VisionLanguageModel
from vlm.records import Sequence, Span


def test_words_are_runs_of_tokens(engine, ask):
    trace = ask("Describe the picture.", "shapes.png")
    words = answer_words(trace, engine.tokenizer)
    assert (
        "".join(word.text for word in words) == trace.answer == raw_answer(trace.sequence, engine.tokenizer)
    )
    assert [word.text for word in words[:3]] == ["A", " medium", " blue"]
    start = trace.sequence.spans[-1].start
    assert words[0].start == start and all(a.stop == b.start for a, b in pairwise(words))


def test_words_in_chinese_with_unfinished_characters(engine):
    text = "红色的圆 🙂!"
    ids = torch.tensor(engine.tokenizer.encode(text))
    sequence = Sequence(ids, (Span("answer", 0, len(ids)),), ids.expand(3, -1), 0)
    trace = type("T", (), {"sequence": sequence})
    words = answer_words(trace, engine.tokenizer)
    assert "".join(word.text for word in words) == text and len(words) >= 5
    assert all("\ufffd" not in word.text for word in words) and words[-1].stop == len(ids)


def test_video_cells_belong_to_their_frames(engine, ask):
    trace = ask("Which way does the circle move?", "moving_circle.mp4")
    [medium] = trace.sequence.media
    with Lens(engine).subject(trace.sequence) as subject:
        looks = look(subject, answer_words(trace, engine.tokenizer))
    assert medium_cells(trace.sequence, 0) == slice(0, medium.tokens)
    assert cell_map(trace.sequence, 0, looks.maps[0]).shape == medium.cells_thw
    assert medium.cells_thw[0] > 1 and looks.maps.shape[1] == medium.tokens


def looks_with(layers: np.ndarray, maps: np.ndarray, usual: np.ndarray) -> Looks:
    return Looks(maps.astype(np.float32), usual.astype(np.float32), np.zeros((4, 2, len(maps))), layers)


def test_sinks_swallow_attention_in_most_layers():
    layers = np.full((4, 50), 0.01)
    layers[:3, 7] = 0.5  # in three of four
    layers[:2, 9] = 0.5  # in two
    layers[3, 11] = 0.9  # in one
    looks = looks_with(layers, np.full((2, 50), 0.3), np.full(50, 0.1))
    assert looks.sinks.tolist() == [7]
    adjusted = looks.adjusted(mask_sinks=True)
    assert (adjusted[:, 7] == 0).all() and (np.delete(adjusted, 7, 1) == np.float32(0.3)).all()
    assert (looks.maps == np.float32(0.3)).all()


def test_normalised_maps_show_what_is_not_usual():
    """A cell that every word looks at falls back behind the one that only this word looks at."""
    usual = np.full(50, 0.01)
    usual[3] = 0.4
    maps = np.full((1, 50), 0.01)
    maps[0, 3], maps[0, 20] = 0.4, 0.1
    looks = looks_with(np.full((4, 50), 0.02), maps, usual)
    assert looks.maps[0].argmax() == 3
    adjusted = looks.adjusted(normalise=True)
    assert adjusted[0].argmax() == 20 and np.isfinite(adjusted).all()
    nothing = looks_with(np.zeros((4, 50)), np.zeros((1, 50)), np.zeros(50))
    assert np.isfinite(nothing.adjusted(normalise=True, mask_sinks=True)).all()


def test_confidence_of_a_sampled_answer_lists_what_else_there_was(engine, ask):
    trace = ask("What colour is the circle?", "circle.png")
    words = answer_words(trace, engine.tokenizer)
    with Lens(engine).subject(trace.sequence) as subject:
        guesses = confidence(subject, words, engine.tokenizer, 3)
    assert "".join(guess.text for guess in guesses[0]) == words[0].text == "red"
    for own in guesses:
        assert 0 < word_probability(own) <= 1
        for guess in own:
            assert len(guess.alternatives) == 3 and guess.alternatives[0][0] == guess.text  # greedy


@pytest.mark.parametrize("quantize", ["none", "nf4"])
def test_stages_add_up_to_the_model(quantize, ask, engine):
    from vlm.families.checkpoint import open_checkpoint

    trace = ask("What colour is the circle?", "circle.png")
    model = open_checkpoint("tiny", quantize=quantize).model
    found = {stage.name: stage for stage in stages(model, trace.sequence)}
    assert sum(stage.parameters for stage in found.values()) == model.parameter_count
    assert sum(stage.nbytes for stage in found.values()) == model.nbytes
    [medium] = trace.sequence.media
    assert found["Patches"].out[0].shape == (medium.patch_count, 1536)
    assert found["Tower"].out[0].shape == (medium.patch_count, 128)
    assert found["Connector"].out[0].shape == (medium.tokens, 192)
    assert found["Connector"].out[1].meaning == "added after layer 1"
    assert found["Embedding"].out[0].shape == (trace.sequence.spans[-1].start, 192)
    assert found["Decoder"].out[1].shape == (6, 2, 2, len(trace.sequence), 32)
    assert "tied" in found["Head"].meaning


def test_stages_of_a_turn_without_a_picture(engine, ask):
    names = [stage.name for stage in stages(engine.model, ask("Hello").sequence)]
    assert names == ["Files", "Patches", "Embedding", "Decoder", "Head"]


def test_the_tree_folds_like_layers():
    config, _ = open_config("qwen3-vl-30b-a3b")
    with torch.device("meta"):
        tree = module_tree(VisionLanguageModel(config))
    assert tree.parameters > 30e9
    decoder = next(child for child in tree.children if child.name == "decoder")
    layers = next(child for child in decoder.children if child.name == "layers")
    assert len(layers.children) == 1 and layers.children[0].name == "0 … 47, each"


def test_families_side_by_side():
    names = ("qwen2-vl-7b", "qwen2.5-vl-7b", "qwen3-vl-8b")
    rows = {
        aspect: (values, differs)
        for aspect, values, differs in differences({n: open_config(n)[0] for n in names})
    }
    assert rows["Tower norm"] == (dict(zip(names, ("LayerNorm", "RMSNorm", "LayerNorm"), strict=True)), True)
    assert rows["Tower windows"][0]["qwen2.5-vl-7b"] == "4 × 4 cells, but in 4 of 32 blocks"
    assert rows["DeepStack"][0]["qwen3-vl-8b"].endswith("feed the first 3 decoder layers")
    assert rows["M-RoPE layout"][0]["qwen3-vl-8b"] == "interleaved [24, 20, 20]"
    assert rows["Boxes in answers"][0]["qwen2.5-vl-7b"] == "pixels of the resized picture"
    assert not rows["Decoder MLP"][1]


def test_two_settings_side_by_side(engine, examples, tmp_path):
    sides = []
    for label, options in (("as it is", None), ("small", MediaOptions(max_pixels=96 * 96))):
        *_, side = ask_side(engine, label, "What colour is the circle?", [examples / "circle.png"], options)
        sides.append(side)
    big, small = map(figures, sides)
    assert (big["Vision tokens"], small["Vision tokens"]) == (36, 9)
    assert [side.looks.maps.shape[1] for side in sides] == [36, 9] and not sides[0].why
    assert big["First word after, ms"] > 0
    *_, empty = ask_side(engine, "text", "Hello", [])
    assert empty.looks is None and "no picture" in empty.why

    write_sides_npz(tmp_path / "sides.npz", [*sides, empty])
    stored = np.load(tmp_path / "sides.npz")
    assert all((stored[f"maps_{n}"] == side.looks.maps).all() for n, side in enumerate(sides))
    assert "maps_2" not in stored
    text = io.StringIO()
    write_sides_csv(text, [sides[0], replace(sides[1], label="=small")])
    lines = {name: values for name, *values in csv.reader(io.StringIO(text.getvalue()))}
    assert lines[""] == ["as it is", "'=small"] and lines["Vision tokens"] == ["36", "9"]
    assert lines["Answer"] == [side.trace.answer for side in sides]
    # The small picture is drawn as high as the large one: the brightest cell of each is where its map says.
    picture = sides_picture(sides, [0, 0])
    assert picture.size == (192 + 12 + 192, 192)
    assert picture.crop((0, 0, 192, 192)) == heat_picture(
        sides[0].trace.sequence.media[0], cell_map(sides[0].trace.sequence, 0, sides[0].looks.maps[0])[0]
    )


def test_files(engine, ask, tmp_path):
    trace = ask("What colour is the circle?", "circle.png")
    words = answer_words(trace, engine.tokenizer)
    with Lens(engine).subject(trace.sequence) as subject:
        looks = look(subject, words)
    [medium] = trace.sequence.media
    cells = cell_map(trace.sequence, 0, looks.maps[0])[0]
    cells = np.zeros_like(cells)
    cells[2, 4] = 1
    picture = np.asarray(heat_picture(medium, cells)).astype(int)
    changed = np.abs(picture - medium.resized[0]).sum(-1) > 0
    rows, columns = np.nonzero(changed)
    assert (rows.min() // 32, rows.max() // 32, columns.min() // 32, columns.max() // 32) == (2, 2, 4, 4)
    boxed = region_picture(
        medium, [Region("box", (50, 60, 150, 160), "circle", 0, 1), Region("point", (9, 9), "", 1, 2)]
    )
    assert boxed.size == (medium.resized.shape[2], medium.resized.shape[1])
    named = [replace(words[0], text="=1+1"), *words[1:]]
    text = io.StringIO()
    write_csv(text, trace.sequence, named, looks)
    lines = list(csv.DictReader(io.StringIO(text.getvalue())))
    assert len(lines) == len(words) * medium.tokens and lines[0]["text"] == "'=1+1"
    assert abs(sum(float(line["attention"]) for line in lines) - looks.maps.sum()) < 1e-3
    assert (lines[7]["row"], lines[7]["column"], lines[7]["medium"]) == ("1", "1", "circle.png")
    write_npz(tmp_path / "looks.npz", trace.sequence, words, looks)
    stored = np.load(tmp_path / "looks.npz")
    assert (stored["maps"] == looks.maps).all() and stored["cells"].tolist() == [[1, 6, 6]]
