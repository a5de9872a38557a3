"""The instruments against an eager run of the reference, in float32.

A weight is a softmax of scores. The scores are sums like the others of `stages` and carry the decoder's
rounding, and a weight changes by at most twice as much as its score: `stages.ROUNDING` of a weight's range,
which is at most 1, is 2.5 times what that file derives for logits. Measured: 2e-5, logit lens 5e-5.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from eager import eager_maps, official_order
from oracle import encode, expect, logits
from stages import close, our_patches, our_run
from talks import TALKS

from vlm.inputs.sequence import append_answer
from vlm.lens.attention import look, vision_tokens
from vlm.lens.confidence import confidence
from vlm.lens.logits import layer_name, nearest_words, tap_name
from vlm.lens.replay import replay
from vlm.lens.subject import Subject
from vlm.lens.tower import TowerView
from vlm.lens.words import Word

ANSWER = tuple(range(40, 52))


@torch.no_grad()
def subject_of(twin, talk, chunk: int) -> Subject:
    """An answered turn, its cache filled as a chat does it: earlier turns, a prompt in pieces, tokens."""
    model, cache = twin.ours.model, twin.ours.model.new_cache(8)
    turns = [talk.first(), talk] if len(talk.turns) > 1 else [talk]
    for turn in turns:  # the second one goes on where the first one's answer ended
        prompt, vision = our_run(twin, turn)
        while cache.length < len(prompt):
            model(prompt, vision, cache, stop=min(len(prompt), cache.length + chunk))
        answer = ANSWER if turn is talk else talk.answers[0]
        for place, token in enumerate(answer[: None if turn is not talk else -1], len(prompt)):
            model.step(token, place + prompt.rope_delta, cache)
    return Subject(model, append_answer(prompt, ANSWER), cache, vision.__getitem__)


def words_of(subject: Subject) -> list[Word]:
    """Two words: of one token, and of three."""
    start = subject.sequence.spans[-1].start
    return [Word("a", start, start + 1), Word("b", start + 8, start + 11)]


def check_rows(twin, talk, chunk: int = 512) -> None:
    """Weights of answer, question and vision rows in every layer and head; maps and shares made of them."""
    subject, expected = subject_of(twin, talk, chunk), expect(twin, talk)
    with eager_maps(twin) as maps:
        logits(twin, expected.prompt, expected.media, ANSWER)
    seen = vision_tokens(subject.sequence)
    stop = len(subject.sequence) - 1
    rows = [int(seen[0]), int(seen[len(seen) // 2]), int(seen[-1]), stop - 20, *range(stop - 11, stop)]
    found = {}
    replay(subject, rows, on_attention=found.__setitem__)
    assert sorted(found) == list(range(len(maps.text)))
    for layer, weights in found.items():
        close(f"attention, layer {layer}", weights, maps.text[layer][:, rows, : max(rows) + 1])
    check_looks(subject, torch.stack(maps.text)[..., seen])


def check_looks(subject: Subject, weights: torch.Tensor) -> None:
    """``weights`` (L, H, T, V) are the reference's."""
    heads, words = [(1, 2), (1, 5), (3, 0)], words_of(subject)
    own = torch.stack([weights[..., word.start - 1 : word.stop - 1, :].mean(-2) for word in words], 2)
    looks = look(subject, words, heads)
    chosen = torch.stack([own[layer, head] for layer, head in heads])  # (3, 2, V)
    close("mean over heads", torch.tensor(looks.maps), chosen.mean(0))
    close("shares", torch.tensor(looks.shares), own.sum(-1))
    most = look(subject, words[:1], heads, "max")
    close("max over heads", torch.tensor(most.maps), chosen[:, :1].amax(0))
    everything = look(subject, words)
    close("mean over all", torch.tensor(everything.maps), own.mean((0, 1)))


@pytest.mark.parametrize("talk", ["image", "odd_frames", "second_turn"])
def test_attention_rows(twin, talk):
    """Pictures, clips, and a second turn on the first one's cache."""
    check_rows(twin, TALKS[talk])


def test_attention_rows_of_a_cache_filled_in_pieces(twins):
    check_rows(twins("qwen3_vl"), TALKS["image_after_video"], chunk=7)
    check_rows(twins("qwen2_5_vl"), TALKS["image_after_video"], chunk=1)


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen3_vl_moe"])
def test_attention_rows_of_a_quantised_model(quantised, family):
    check_rows(quantised(family, "nf4"), TALKS["image"])


@pytest.mark.parametrize("talk", ["image", "odd_frames"])
def test_tower_attention(twin, talk):
    """Every block, a patch at an edge window and one inside, in the last frame of a clip."""
    medium = expect(twin, TALKS[talk]).media[0]  # a run of its own, which must not be recorded
    with eager_maps(twin) as maps:
        encode(twin, medium)
    [patches] = our_patches(twin, TALKS[talk])
    t, h, w = patches.grid_thw
    order = official_order(twin, patches.grid_thw)
    natural = [patches.patch_place(index) for index in range(t * h * w)]
    view = TowerView(twin.ours.model, twin.ours.config.pixels, patches, frame=t - 1)
    for block in range(twin.ours.config.vision.depth):
        weights = maps.whole(block, order)
        for row, column in ((h - 1, w - 1), (h // 2, 1)):
            wanted = np.zeros((h, w), np.float32)
            line = weights[:, natural.index((t - 1, row, column))]
            for index, value in enumerate(line.mean(0).tolist()):
                if natural[index][0] == t - 1:
                    wanted[natural[index][1:]] = value
            found = view.look(row, column, block)
            close(f"tower block {block}", torch.tensor(found.weights), torch.tensor(wanted))
            assert (found.inside == (wanted > 0)).all()
            config = twin.ours.config.vision
            windows = config.window_size is not None and block not in config.full_attention_blocks
            assert found.windowed == windows and (found.inside.sum() < h * w) == windows
    one = view.look(0, 0, 0, heads=[1])
    line = maps.whole(0, order)[1, natural.index((t - 1, 0, 0))]
    assert abs(one.weights.max() - float(line.max())) < 1e-4


def test_logit_lens(twin):
    """Probabilities at every stage against the reference's hidden states under its own norm and head."""
    talk = TALKS["image"]
    subject, expected = subject_of(twin, talk, 512), expect(twin, talk)
    row = int(vision_tokens(subject.sequence)[5])
    text = twin.reference.model.language_model
    with torch.no_grad():
        logits_of = _hidden_states(twin, expected)
        states = {layer_name(layer): state[row] for layer, state in enumerate(logits_of)}
        features, taps = expected.vision[0]
        states["connector"] = features[5]
        states |= {tap_name(level): tap[5] for level, tap in enumerate(taps)}
        wanted = {
            name: twin.reference.lm_head(text.norm(state)).softmax(-1) for name, state in states.items()
        }
    tokenizer = twin.ours.tokenizer
    found = nearest_words(subject, [row], tokenizer)
    assert {nearest.stage for nearest in found} == set(wanted)
    for nearest in found:
        [words] = nearest.words
        best = wanted[nearest.stage].topk(5)
        close(f"logit lens, {nearest.stage}", torch.tensor([share for _, share in words]), best.values)
        if float(best.values[0] - best.values[1]) > 1e-3:
            assert words[0][0] == tokenizer.token_text(int(best.indices[0])), nearest.stage
    only = nearest_words(subject, [row], tokenizer, stages=["layer 2"])
    assert [nearest.stage for nearest in only] == ["layer 2"]


def _hidden_states(twin, expected) -> list[torch.Tensor]:
    """(T, D) behind every layer of the reference, DeepStack added."""
    layers = twin.reference.model.language_model.layers
    kept: dict[int, torch.Tensor] = {}

    def note(index):
        def hook(module, args, kwargs):
            kept[index] = args[0] if args else kwargs["hidden_states"]

        return hook

    following = [*layers[1:], twin.reference.model.language_model.norm]
    hooks = [m.register_forward_pre_hook(note(i), with_kwargs=True) for i, m in enumerate(following)]
    logits(twin, expected.prompt, expected.media)
    for hook in hooks:
        hook.remove()
    return [kept[index][0] for index in range(len(layers))]


def test_confidence(twin):
    talk = TALKS["image"]
    subject, expected = subject_of(twin, talk, 512), expect(twin, talk)
    shares = logits(twin, expected.prompt, expected.media, ANSWER).softmax(-1)
    words = words_of(subject)
    for word, guesses in zip(words, confidence(subject, words, twin.ours.tokenizer), strict=True):
        for index, guess in zip(range(word.start, word.stop), guesses, strict=True):
            wanted = shares[index - 1]
            assert guess.index == index
            assert abs(guess.probability - float(wanted[subject.sequence.ids[index]])) < 1e-5
            found = torch.tensor([share for _, share in guess.alternatives])
            close("alternatives", found, wanted.topk(5).values)
