"""Choosing tokens, and text that is always safe to show."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

from vlm.chat.sampling import LOOP_TOKENS, Sampler, Sampling, is_loop
from vlm.chat.text import SafeText
from vlm.records import InputError

LOGITS = torch.tensor([4.0, 3.0, 1.0, -2.0])


def draws(sampling: Sampling, count: int = 400) -> Counter:
    sampler = Sampler(replace(sampling, seed=0), torch.tensor([], dtype=torch.int64))
    return Counter(sampler.pick(LOGITS)[0] for _ in range(count))


def chosen(sampling: Sampling, prompt: list[int], count: int = 1) -> list[int]:
    sampler = Sampler(sampling, torch.tensor(prompt, dtype=torch.int64))
    return [sampler.pick(LOGITS)[0] for _ in range(count)]


def test_temperature_zero_is_greedy_and_reports_the_log_probability():
    token, logprob = Sampler(Sampling(logprobs=True), torch.tensor([0])).pick(LOGITS)
    assert token == 0 and Sampler(Sampling(), torch.tensor([0])).pick(LOGITS) == (0, None)
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


def test_min_p_drops_what_is_far_less_likely_than_the_best():
    shares = LOGITS.softmax(-1)
    assert set(draws(Sampling(temperature=1.0, min_p=float(shares[2] / shares[0]) + 0.01))) == {0, 1}
    assert set(draws(Sampling(temperature=1.0, min_p=1.0))) == {0}


def test_a_seed_repeats_the_draws():
    sampling = Sampling(temperature=1.5, seed=7)
    assert chosen(sampling, [], 20) == chosen(sampling, [], 20) != chosen(replace(sampling, seed=8), [], 20)


def test_the_repetition_penalty_counts_the_prompt_and_works_below_zero():
    assert chosen(Sampling(repetition_penalty=1.5), [0]) == [1]  # 4 / 1.5 < 3
    below = Sampler(Sampling(repetition_penalty=2.0), torch.tensor([0, 3]))
    assert below._penalise(LOGITS).tolist() == [2.0, 3.0, 1.0, -4.0]


def test_the_presence_penalty_counts_only_the_answer():
    # The best two start at 4 and 3; each loses 1.5 once it was said.
    assert chosen(Sampling(presence_penalty=1.5), [0], 3) == [0, 1, 0]


def test_penalties_do_not_touch_the_reported_log_probability():
    sampler = Sampler(Sampling(repetition_penalty=1.5, logprobs=True), torch.tensor([0]))
    token, logprob = sampler.pick(LOGITS)
    assert logprob == pytest.approx(float(LOGITS.log_softmax(-1)[token]))


@pytest.mark.parametrize("period", [1, 3, 16])
def test_a_run_said_over_and_over_is_a_loop(period):
    run = list(range(100, 100 + period))
    assert is_loop([1, 2, 3] + run * LOOP_TOKENS)
    assert not is_loop((run * LOOP_TOKENS)[: LOOP_TOKENS - 1])
    assert not is_loop([*(run * LOOP_TOKENS), 7])


def test_a_long_list_is_no_loop():
    assert not is_loop([token for line in range(30) for token in (5, 6, line, 9)])


@pytest.mark.parametrize(
    "bad",
    [
        {"max_new_tokens": 0},
        {"temperature": -1},
        {"top_p": 0},
        {"top_p": 1.5},
        {"top_k": 0},
        {"min_p": 2},
        {"stop": ("",)},
    ],
)
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(InputError):
        Sampling(**bad)


@pytest.mark.parametrize("text", ["红色的圆形", "naïve café", "🙂🙂 ok", "plain"])
def test_text_never_shows_half_a_character(tiny, text):
    safe = SafeText(tiny.tokenizer)
    pieces = [safe.add(token) for token in tiny.tokenizer.encode(text)]
    assert "".join(pieces) + safe.rest() == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_control_tokens_are_never_shown(tiny):
    safe = SafeText(tiny.tokenizer)
    ids = [tiny.tokenizer.id_of("<|im_start|>"), *tiny.tokenizer.encode("red")]
    assert "".join(safe.add(token) for token in ids) == "red"


def streamed(tokenizer, text: str, *stop: str) -> tuple[list[str], bool]:
    safe = SafeText(tokenizer, stop)
    pieces = []
    for token in tokenizer.encode(text):
        pieces.append(safe.add(token))
        if safe.ended:
            break
    return [*pieces, safe.rest()], safe.ended


def test_a_stop_string_ends_the_text_before_it_and_never_shows(tiny):
    pieces, ended = streamed(tiny.tokenizer, "red circle and blue star", " and b")
    assert ended and "".join(pieces) == "red circle"
    assert not any("an" in piece for piece in pieces)


def test_the_beginning_of_a_stop_string_is_given_back_when_it_was_none(tiny):
    pieces, ended = streamed(tiny.tokenizer, "red circle and blue", " and x", "blue star")
    assert not ended and "".join(pieces) == "red circle and blue"


def test_a_character_that_never_became_whole_is_dropped(tiny):
    safe = SafeText(tiny.tokenizer)
    first, *_ = tiny.tokenizer.encode("🙂")
    assert safe.add(first) + safe.rest() == ""
