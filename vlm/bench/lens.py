"""How long a look takes: where words looked and what a cell says, with a thousand vision tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from vlm.bench.models import random_model
from vlm.bench.rows import Row, alternate, faster
from vlm.families.checkpoint import open_checkpoint
from vlm.inputs.patches import to_patches
from vlm.inputs.sequence import append_answer, build_sequence, user_message
from vlm.inputs.tokenizer import Tokenizer
from vlm.lens.attention import look
from vlm.lens.confidence import confidence
from vlm.lens.logits import nearest_words
from vlm.lens.subject import Subject
from vlm.lens.words import Word
from vlm.models.model import VisionLanguageModel
from vlm.records import Frames, VisionOut

PROMISED = {"tiny": 300.0, "large": 2_000.0}  # ms
ANSWER = 33  # tokens


def lens(model: str, layers: int | None, device: str, runs: int) -> Iterator[Row]:
    """Three kinds of look on the embedded model and at a preset's widths; reference: what is promised."""
    tiny = open_checkpoint("tiny", device=device, dtype="fast")
    yield from _looks("lens_tiny", tiny.model, tiny.tokenizer, PROMISED["tiny"], runs)
    yield from _looks("lens", *random_model(model, layers=layers, device=device), PROMISED["large"], runs)


def _looks(
    name: str, model: VisionLanguageModel, tokenizer: Tokenizer, promised: float, runs: int
) -> Iterator[Row]:
    subject = _subject(model, tokenizer)
    start = subject.sequence.spans[-1].start
    words = [Word("", index, index + 1) for index in range(start, start + ANSWER - 1)]
    cell = next(span.start for span in subject.sequence.spans if span.media is not None) + 3
    acts: dict[tuple[str, str], Callable[[], object]] = {
        ("word", "one word"): lambda: look(subject, words[:1]),
        ("words", f"{len(words)} words"): lambda: look(subject, words),
        ("cell", "a cell's words, all stages"): lambda: nearest_words(subject, [cell], tokenizer),
        ("confidence", f"confidence of {len(words)} words"): lambda: confidence(subject, words, tokenizer),
    }
    seen = sum(patches.tokens for patches in subject.sequence.media)
    for (short, what), act in acts.items():
        [times] = alternate(runs, act)
        note = f"{what}; {seen:,} vision tokens; reference: promised"
        yield faster(f"{name}_{short}", times, [promised], note=note)


def _subject(model: VisionLanguageModel, tokenizer: Tokenizer) -> Subject:
    """An answered turn about the largest picture of about a thousand cells; keys and features are noise."""
    edge = 32 * model.config.pixels.factor
    pixels = torch.randint(0, 255, (1, edge, edge, 3)).byte().numpy()
    frames = Frames("image", "noise", pixels, edge, edge, "")
    patches = to_patches(frames, model.config.pixels)
    messages = [user_message("What stands to the left of the largest shape?", [patches])]
    prompt = build_sequence(messages, [patches], tokenizer, model.config.tokens)
    sequence, c = append_answer(prompt, list(range(20, 20 + ANSWER))), model.config
    cache, kind = model.new_cache(len(sequence)), {"dtype": model.dtype, "device": model.device}
    for layer in range(c.decoder.num_layers):
        keys = torch.randn(1, c.decoder.num_kv_heads, len(sequence), c.decoder.head_dim, **kind)
        cache.extend(layer, keys, keys)
    cache.advance(len(sequence))
    rows = (patches.tokens, c.decoder.hidden_size)
    taps = tuple(0.1 * torch.randn(rows, **kind) for _ in c.vision.deepstack_indexes)
    out = VisionOut(torch.randn(rows, **kind), taps, patches.grid_thw, "")
    return Subject(model, sequence, cache, lambda index: out)
