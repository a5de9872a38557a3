"""Choosing tokens, and text that is always safe to show."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from vlm.chat.generate import Sampling, _SafeText, pick
from vlm.records import InputError

LOGITS = torch.tensor([4.0, 3.0, 1.0, -2.0])


def draws(sampling: Sampling, count: int = 400) -> Counter:
    generator = torch.Generator().manual_seed(0)
    return Counter(pick(LOGITS, sampling, generator)[0] for _ in range(count))


def test_temperature_zero_is_greedy_and_reports_the_log_probability():
    token, logprob = pick(LOGITS, Sampling())
    assert token == 0
    assert logprob == pytest.approx(float(LOGITS.log_softmax(-1)[0]))


def test_top_k_keeps_the_k_best():
    assert set(draws(Sampling(temperature=5.0, top_k=2))) == {0, 1}


def test_top_p_keeps_the_smallest_set_that_reaches_p():
    first, second = LOGITS.softmax(-1)[:2].tolist()
    assert set(draws(Sampling(temperature=1.0, top_p=first - 0.01))) == {0}
    assert set(draws(Sampling(temperature=1.0, top_p=first + second - 0.01))) == {0, 1}


def test_samples_follow_the_distribution():
    share = draws(Sampling(temperature=1.0), 4000)[0] / 4000
    expected = float(LOGITS.softmax(-1)[0])
    # Four standard deviations of a share of 4000 draws.
    assert share == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 4000) ** 0.5)


def test_a_seed_repeats_the_draws():
    sampling = Sampling(temperature=1.5, seed=7)
    runs = [[pick(LOGITS, sampling, g)[0] for _ in range(20)] for g in (_seeded(7), _seeded(7))]
    assert runs[0] == runs[1]


def _seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    "bad", [{"max_new_tokens": 0}, {"temperature": -1}, {"top_p": 0}, {"top_p": 1.5}, {"top_k": 0}]
)
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(InputError):
        Sampling(**bad)


@pytest.mark.parametrize("text", ["红色的圆形", "naïve café", "🙂🙂 ok", "plain"])
def test_text_never_shows_half_a_character(tiny, text):
    safe = _SafeText(tiny.tokenizer)
    pieces = [safe.add(token) for token in tiny.tokenizer.encode(text)]
    assert "".join(pieces) + safe.rest() == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_control_tokens_are_never_shown(tiny):
    safe = _SafeText(tiny.tokenizer)
    ids = [tiny.tokenizer.id_of("<|im_start|>"), *tiny.tokenizer.encode("red")]
    assert "".join(safe.add(token) for token in ids) == "red"
