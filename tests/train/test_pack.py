"""A packed question is exactly what a chat about the same picture would be."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
import torch

from vlm.inputs.sequence import build_sequence
from vlm.train.objective import answer_logits, see
from vlm.train.pack import IGNORE, Earlier, Segment, Turn
from vlm.train.stream import difficulty

LEVEL = difficulty(1.0)


@pytest.fixture(scope="module")
def model(tiny):
    """The shipped weights in float32, so that the two ways can be compared."""
    from vlm.families.checkpoint import open_checkpoint

    return open_checkpoint(tiny.folder, device="cpu", dtype=torch.float32).model


def samples(stream, clips: bool):
    make = stream._clips if clips else stream._pictures
    return make(Random(3), Random(3), replace(LEVEL, dialogues=0.4, small_talk=0.0))


@pytest.mark.parametrize("clips", [False, True], ids=["pictures", "clips"])
def test_every_answer_is_predicted_as_in_a_chat_of_its_own(stream, packer, tiny, model, clips):
    made = samples(stream, clips)
    other, talk = made[1], Turn("smalltalk", "Hello!", "Hello!")
    shown = Earlier(Turn("colour", "What colour is it?", "red"), other.pictures[0])
    made = [replace(made[0], earlier=earlier) for earlier in ((), (shown,), (Earlier(talk), shown))]
    made.append(replace(made[0], pictures=(*other.pictures, *made[0].pictures)))  # two in one message
    batch = packer.pack(made)
    with torch.inference_mode():
        features, taps = see(model, batch)
        packed, _ = answer_logits(model, batch, features, taps)
    packed = packed.split([answer.stop - answer.start for answer in batch.answers])
    found = {
        (answer.sample, answer.segment, answer.turn): p
        for answer, p in zip(batch.answers, packed, strict=True)
    }
    for number, sample in enumerate(made):
        for index, segment in enumerate(sample.segments):
            sequence, answers = as_chat(segment, sample, packer, tiny)
            with torch.inference_mode():
                hidden = model(sequence, model.encode(sample.media))
            for turn, (start, stop) in enumerate(answers):
                expected = model.decoder.logits(hidden[start - 1 : stop - 1])
                # float32 sums of a few hundred terms of size 10 in another order: 1e-6 × 10 × √300.
                torch.testing.assert_close(found[number, index, turn], expected, atol=2e-3, rtol=0)


def as_chat(segment, sample, packer, tiny):
    """The segment as messages, after the earlier turns; also where each answer (with <|im_end|>) lies."""
    messages = [message for turn in sample.earlier for message in packer._messages(turn)]
    before = len(sample.earlier)
    for index, turn in enumerate(segment.turns):
        parts = [{"type": shown.patches.kind} for shown in sample.pictures] if index == 0 else []
        messages.append({"role": "user", "content": [*parts, {"type": "text", "text": turn.question}]})
        messages.append({"role": "assistant", "content": "", "ids": list(packer.encode(turn.answer))})
    sequence = build_sequence(
        messages, sample.media, tiny.tokenizer, tiny.config.tokens, generation_prompt=False
    )
    spans = [span for span in sequence.spans if span.kind == "answer"]
    return sequence, [(span.start, span.stop + 1) for span in spans[before:]]


def test_targets_are_the_answers_and_nothing_else(stream, packer, tiny):
    (sample, *_) = samples(stream, clips=False)
    turn = Turn("colour", "What colour is it?", "deep red")
    batch = packer.pack([replace(sample, segments=(Segment((turn,)),))])
    (answer,) = batch.answers
    targets = batch.targets[answer.start : answer.stop].tolist()
    assert tiny.tokenizer.decode(targets) == "deep red"
    assert targets[-1] in tiny.config.tokens.eos
    assert int((batch.targets != IGNORE).sum()) == len(targets)


def test_a_blind_segment_does_not_see_the_picture(stream, packer, model):
    """The picture is replaced by noise and the blind segment's logits stay as they were."""
    (sample, *_) = samples(stream, clips=False)
    turn = Turn("smalltalk", "Hello!", "Hello!")
    seen = {}
    for blind in (True, False):
        batch = packer.pack([replace(sample, segments=(Segment((turn,), blind=blind),))])
        with torch.inference_mode():
            features, taps = see(model, batch)
            clear = answer_logits(model, batch, features, taps)[0]
            noisy = answer_logits(model, batch, torch.randn_like(features), taps)[0]
        seen[blind] = not torch.equal(clear, noisy)
    assert seen == {True: False, False: True}


def test_a_batch_depends_on_its_number_alone(stream):
    first, again, other = (stream.make(number, LEVEL) for number in (7, 7, 8))
    assert torch.equal(first.pixels, again.pixels) and torch.equal(first.ids, again.ids)
    assert first.pixels.shape != other.pixels.shape or not torch.equal(first.pixels, other.pixels)


def test_the_processes_of_a_step_get_batches_of_one_shape(stream):
    for step in range(4):
        first, second = (stream.make(2 * step + rank, LEVEL, group=2) for rank in (0, 1))
        assert first.grids[-1] == second.grids[-1]
        assert not torch.equal(first.pixels[:50], second.pixels[:50])
