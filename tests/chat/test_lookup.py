"""Guessing ahead changes how often the model is called, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from vlm.chat.generate import generate, prefill
from vlm.chat.lookup import Guesses, Lookahead, Text, Worth
from vlm.chat.sampling import Sampling
from vlm.families.checkpoint import open_checkpoint
from vlm.inputs.sequence import build_sequence, user_message


@pytest.fixture(scope="module")
def exact():
    """The embedded model in float32, where the length of a chunk does not change what is likeliest.

    Nothing ends its answers, so that they come to repeat themselves.
    """
    opened = open_checkpoint("tiny", device="cpu", dtype="float32")
    opened.model.config = replace(opened.config, tokens=replace(opened.config.tokens, eos=()))
    return opened


def _answer(exact, sampling, monkeypatch, text="red red blue, red red blue, red red"):
    sequence = build_sequence([user_message(text, [])], [], exact.tokenizer, exact.config.tokens)
    cache, calls = exact.model.new_cache(), []
    reading = prefill(exact.model, sequence, [], cache)
    while True:
        try:
            next(reading)
        except StopIteration as end:
            logits = end.value
            break
    plain = type(exact.model).steps

    def counted(self, tokens, *rest):
        calls.append(len(tokens))
        return plain(self, tokens, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(type(exact.model), "steps", counted)
        steps = list(generate(exact.model, exact.tokenizer, sequence, logits, cache, sampling))
    tokens = [step.token for step in steps]
    return tokens, calls, cache, len(sequence)


def _endless(monkeypatch):
    """Loops do not end an answer, and guessing always seems worth it."""
    monkeypatch.setattr("vlm.chat.sampling.LOOP_TOKENS", 10**6)
    monkeypatch.setattr(Worth, "trying", lambda self: True)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 1.3, "seed": 3},
        {"temperature": 0.7, "seed": 4, "top_k": 5, "repetition_penalty": 1.2, "presence_penalty": 0.3},
    ],
    ids=["greedy", "sampled", "penalties"],
)
def test_the_same_tokens_in_fewer_calls(exact, options, monkeypatch):
    """A sampled answer draws its numbers in the same order, so with a seed it is the same to the token."""
    _endless(monkeypatch)
    text = "red red red red red red"  # what repeats itself most is guessed best
    plain, alone, before, prompt = _answer(exact, Sampling(80, **options), monkeypatch, text)
    guessed, calls, after, _ = _answer(exact, Sampling(80, lookup=6, **options), monkeypatch, text)
    assert guessed == plain and alone == [1] * 79
    assert after.length == before.length == prompt + 79
    assert max(calls) > 1 and (len(calls) < 60 or options)


def test_what_is_left_in_the_cache_is_what_was_said(exact, monkeypatch):
    """Keys after an answer with guesses are those of the same tokens read in one go."""
    _endless(monkeypatch)
    tokens, calls, cache, _ = _answer(exact, Sampling(40, lookup=6), monkeypatch)
    assert max(calls, default=0) > 1
    sequence = build_sequence(
        [user_message("red red blue, red red blue, red red", [])], [], exact.tokenizer, exact.config.tokens
    )
    ids = torch.cat((sequence.ids, torch.tensor(tokens[:-1])))
    whole = exact.model.new_cache()
    with torch.inference_mode():
        model = exact.model
        positions = torch.arange(len(ids)).expand(3, 1, -1)
        model.decoder(model.decoder.embed_tokens(ids[None]), positions, cache=whole)
    assert cache.length == len(ids) == whole.length
    kept, expected = (c._store[..., : len(ids), :] for c in (cache, whole))
    # Four layers of sums of a few hundred float32 terms.
    torch.testing.assert_close(kept, expected, rtol=0, atol=1e-4)


def test_the_longest_run_is_looked_up_and_the_latest_wins():
    text = Text([1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3])
    assert text.guess(3) == [4, 9, 2]  # behind 1 2 3, though 2 3 came later
    text.add(7)
    assert text.guess(3) == []
    text.add(2)
    text.add(3)
    assert text.guess(2) == [7, 2]  # the latest 2 3


def test_guesses_that_cost_more_than_they_give_are_given_up():
    worth = Worth()
    worth.called(0, 1.0)
    assert worth.trying()
    for _ in range(40):  # a call with guesses takes twice as long and none of them is right
        worth.called(4, 2.0)
        if not worth.trying():
            break
    assert not worth.trying()
    for _ in range(40):  # and are tried again later
        worth.called(0, 1.0)
        if worth.trying():
            return
    pytest.fail("never tried again")


def test_guesses_that_pay_go_on():
    worth = Worth()
    worth.called(0, 1.0)
    for _ in range(40):
        assert worth.trying()
        worth.called(4, 1.5)
        worth.right()
        worth.right()


def test_guesses_end_where_the_answer_must(exact, monkeypatch):
    _endless(monkeypatch)
    tokens, _, cache, prompt = _answer(exact, Sampling(9, lookup=64), monkeypatch)
    assert len(tokens) <= 9 and cache.capacity >= cache.length == prompt + len(tokens) - 1
    assert (
        Lookahead(
            exact.model, cache, type("S", (), {"ids": torch.tensor([1]), "rope_delta": 0}), 0, 1, Guesses()
        ).most
        == 0
    )
