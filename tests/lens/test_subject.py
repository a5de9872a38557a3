"""Getting at a turn: from the chat's cache, after it is gone, and while others are served."""

from __future__ import annotations

import threading

import pytest
import torch

from vlm.chat.session import ChatSession
from vlm.lens.attention import look, vision_tokens
from vlm.lens.logits import nearest_words
from vlm.lens.replay import BLOCK, replay
from vlm.lens.subject import Lens
from vlm.lens.words import answer_words
from vlm.records import InputError

ROUNDING = 1e-5  # of a share of attention, see tests/parity/test_lens.py


def maps(engine, trace, lens=None):
    """(N, V) of the turn's words, and whether it had to be read again."""
    with (lens or Lens(engine)).subject(trace.sequence) as subject:
        return look(subject, answer_words(trace, engine.tokenizer)).maps, subject.recomputed


def kept(engine, trace):
    """All keys and values of the turn's chat; storing nothing returns what is there."""
    cache, nothing = engine.caches.find(trace.sequence).cache, torch.zeros(1, 1, 0, 1)
    layers = range(engine.config.decoder.num_layers)
    return torch.stack([part for layer in layers for part in cache.extend(layer, nothing, nothing)])


def same(found, wanted) -> bool:
    return abs(found - wanted).max() < ROUNDING


def test_rows_are_the_answers_own(engine, ask):
    """Run again, every row writes the token that it wrote; each sees itself and what was before it."""
    trace = ask("Describe the picture.", "shapes.png")
    answer, weights = trace.sequence.spans[-1], {}
    rows = list(range(answer.start - 1, answer.stop - 1))
    with Lens(engine).subject(trace.sequence) as subject:
        hidden = replay(subject, rows, on_attention=weights.__setitem__)
        written = subject.model.decoder.logits(hidden).argmax(-1)
    assert written.tolist() == trace.sequence.ids[answer.start : answer.stop].tolist()
    for found in weights.values():
        assert torch.allclose(found.sum(-1), torch.ones(found.shape[:2]), atol=1e-5)
        assert all(found[:, place, row + 1 :].max() == 0 for place, row in enumerate(rows[:-1]))


def test_a_look_changes_nothing_in_the_chat(engine, chat, ask):
    """The next turn reuses as much and answers the same as it would have without."""
    trace = ask("What colour is the circle?", "circle.png")
    before = kept(engine, trace).clone()
    maps(engine, trace)
    assert torch.equal(before, kept(engine, trace))
    assert ask("And its shape?").stats["reused_tokens"] == len(trace.sequence) - 1


def test_an_earlier_turn_is_still_in_the_cache(engine, ask):
    first = ask("What colour is the circle?", "circle.png")
    wanted, _ = maps(engine, first)
    ask("And its shape?")
    found, recomputed = maps(engine, first)
    assert same(found, wanted) and not recomputed


def test_a_cache_that_was_let_go_is_read_once_more(engine, ask):
    trace = ask("What colour is the circle?", "circle.png")
    wanted, recomputed = maps(engine, trace)
    assert not recomputed
    engine.free_memory()
    lens, reads = Lens(engine), []
    tower = engine.model.tower.register_forward_hook(lambda *_: reads.append(1))
    found, recomputed = maps(engine, trace, lens)
    assert same(found, wanted) and recomputed and len(reads) == 1
    found, recomputed = maps(engine, trace, lens)
    tower.remove()
    assert same(found, wanted) and not recomputed and len(reads) == 1


def test_a_turn_that_was_edited_away(engine, chat, ask):
    """Its cache goes on with other tokens; the look must not read those."""
    trace = ask("What colour is the circle?", "circle.png")
    wanted, _ = maps(engine, trace)
    *_, other = chat.edit(0, "Where is the circle?")
    found, recomputed = maps(engine, trace)
    assert same(found, wanted) and recomputed
    assert not maps(engine, other)[1]


def test_another_chat_with_the_same_words_and_another_picture(engine, ask, chat, examples):
    """All picture tokens have one id: only the content tells them apart."""
    trace = ask("What colour is the circle?", "circle.png")
    wanted, _ = maps(engine, trace)
    engine.forget(chat._chat)
    *_, other = ChatSession(engine).ask("What colour is the circle?", [examples / "star.png"])
    count = len(trace.sequence) - len(answer_words(trace, engine.tokenizer)) - 2
    assert torch.equal(other.sequence.ids[:count], trace.sequence.ids[:count])
    found, recomputed = maps(engine, trace)
    assert recomputed and same(found, wanted)


def test_features_that_were_let_go_are_computed_again(engine, ask):
    trace = ask("What colour is the circle?", "circle.png")
    row = int(vision_tokens(trace.sequence)[7])
    lens, found = Lens(engine), []
    for _ in range(2):
        with lens.subject(trace.sequence) as subject:
            found.append(nearest_words(subject, [row], engine.tokenizer))
        engine.memo.clear()
    pairs = zip(found[0], found[1], strict=True)
    assert all(a.stage == b.stage and a.words[0][0][0] == b.words[0][0][0] for a, b in pairs)


def test_a_look_waits_for_its_turn_and_gives_up_in_words(engine, ask):
    trace = ask("What colour is the circle?", "circle.png")
    ticket = engine.queue.join()
    for gone in (False, True):  # in the cache, and to be read again
        if gone:
            engine.free_memory()
        with (
            pytest.raises(InputError, match="answering someone"),
            Lens(engine).subject(trace.sequence, wait=0.2),
        ):
            pass
    threading.Timer(0.3, engine.queue.leave, [ticket]).start()
    with Lens(engine).subject(trace.sequence, wait=10) as subject:
        assert subject.recomputed and len(engine.queue) == 1
    assert len(engine.queue) == 0


def test_wrong_rows_are_refused(engine, ask):
    trace = ask("What colour is the circle?", "circle.png")
    with Lens(engine).subject(trace.sequence) as subject:
        for rows in ([], [-1], [len(trace.sequence)], list(range(BLOCK + 1))):
            with pytest.raises(ValueError, match="rows below"):
                replay(subject, rows)
        words = answer_words(trace, engine.tokenizer)
        with pytest.raises(ValueError, match="no head 9"):
            look(subject, words, [(0, 9)])


def test_an_engine_on_another_machine_cannot_be_looked_into():
    with pytest.raises(InputError, match="another machine"):
        Lens(object())
