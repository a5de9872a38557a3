"""One comparison a stage; the message of a failing assertion begins with the stage's name.

Where the tolerances come from. One float32 result is off by up to u = 6e-8 of itself. A sum of n terms
in another order is off by about u √(n/2) of its size: 1.7e-6 for the longest sums here (1536 values of a
patch). The tower has about 10 such sums behind each other and the decoder 28, whose errors add like a random
walk, and the largest of thousands of values lies about 4 deviations out:
    tower   4 × √10 × 1.7e-6 = 2e-5 of the spread (max - min)
    logits  4 × √38 × 1.7e-6 = 4e-5, and the next power of ten is 1e-4
Measured: 3e-6 and 8e-6. The smallest mistake of `test_mistakes.py` makes 8e-5 in the tower (another GELU),
all others 9e-4 and more.
Patches are one multiply-add of values up to 2.7: 3e-7, and one grey level would be 0.008. 1e-5 lies between.
Ids, positions and tokens are integers and must be equal.
"""

from __future__ import annotations

import torch
from oracle import Expected, expect, logits
from talks import Talk
from torch import Tensor
from twins import Twin

from vlm.inputs import patches, sequence
from vlm.records import Patches, Sequence, VisionOut

PIXEL_TOLERANCE = 1e-5
TOWER_ROUNDING, ROUNDING = 2e-5, 1e-4  # of max - min
ANSWER = 32  # tokens


def close(stage: str, ours: Tensor, expected: Tensor, tolerance: float = ROUNDING) -> None:
    assert ours.shape == expected.shape, f"{stage}: shape {tuple(ours.shape)}, not {tuple(expected.shape)}"
    spread = float(expected.max() - expected.min())
    worst = float((ours - expected).abs().max()) / spread
    assert worst <= tolerance, f"{stage}: off by {worst:.2g} of the spread {spread:.3g}"


def our_patches(twin: Twin, talk: Talk) -> list[Patches]:
    return [patches.to_patches(frames, twin.ours.config.pixels) for frames in talk.media]


def our_sequence(twin: Twin, talk: Talk, media: list[Patches]) -> Sequence:
    return sequence.build_sequence(talk.messages, media, twin.ours.tokenizer, twin.ours.config.tokens)


@torch.no_grad()
def our_run(twin: Twin, talk: Talk) -> tuple[Sequence, list[VisionOut]]:
    media = our_patches(twin, talk)
    return our_sequence(twin, talk, media), twin.ours.model.encode(media)


@torch.no_grad()
def our_logits(twin: Twin, prompt: Sequence, vision: list[VisionOut], chunk: int | None = None) -> Tensor:
    """(T, vocabulary), at once without a cache or in chunks with one."""
    model = twin.ours.model
    if chunk is None:
        return model.decoder.logits(model(prompt, vision))
    cache, parts = model.new_cache(8), []
    while cache.length < len(prompt):
        stop = min(len(prompt), cache.length + chunk)
        parts.append(model.decoder.logits(model(prompt, vision, cache, stop=stop)))
    return torch.cat(parts)


@torch.no_grad()
def our_answer(twin: Twin, prompt: Sequence, vision: list[VisionOut], count: int = ANSWER) -> tuple[int, ...]:
    """Greedy tokens, through the cache and one at a time."""
    model = twin.ours.model
    cache = model.new_cache(len(prompt) + 5)
    scores = model.decoder.logits(model(prompt, vision, cache))[-1]
    answer: list[int] = []
    while True:
        answer.append(int(choose(twin, scores)))
        if len(answer) == count:
            return tuple(answer)
        scores = model.step(answer[-1], len(prompt) + len(answer) - 1 + prompt.rope_delta, cache)


def choose(twin: Twin, scores: Tensor) -> Tensor:
    """Most likely tokens, placeholders left out: the reference cannot be fed a placeholder that it wrote."""
    tokens = twin.ours.config.tokens
    barred = torch.tensor([tokens.image, tokens.video])
    return scores.index_fill(-1, barred, -torch.inf).argmax(-1)


def check_patches(twin: Twin, talk: Talk) -> None:
    pairs = zip(our_patches(twin, talk), expect(twin, talk).media, strict=True)
    for number, (own, medium) in enumerate(pairs):
        stage = f"patches of {own.kind} {number}"
        assert own.grid_thw == medium.grid, f"{stage}: grid {own.grid_thw}, not {medium.grid}"
        off = float((own.pixels - medium.pixels).abs().max())
        assert off <= PIXEL_TOLERANCE, f"{stage}: off by {off:.2g}"


def check_sequence(twin: Twin, talk: Talk) -> None:
    own, prompt = our_sequence(twin, talk, our_patches(twin, talk)), expect(twin, talk).prompt
    assert own.ids.tolist() == prompt.ids[0].tolist(), "sequence: token ids differ"
    for axis, name in enumerate("thw"):
        found, wanted = own.positions[axis].tolist(), prompt.positions[axis, 0].tolist()
        assert found == wanted, f"positions: the {name} ids differ"
    following = int(prompt.positions.max()) + 1
    assert len(own) + own.rope_delta == following, f"positions: rope_delta {own.rope_delta}"


def check_tower(twin: Twin, talk: Talk) -> None:
    """All media packed into one call of ours against one call each of the reference."""
    with torch.no_grad():
        outs = twin.ours.model.encode(our_patches(twin, talk))
    for number, (own, (features, taps)) in enumerate(zip(outs, expect(twin, talk).vision, strict=True)):
        assert len(own.taps) == len(taps), f"tower, medium {number}: {len(own.taps)} taps, not {len(taps)}"
        for level, (found, tap) in enumerate(zip(own.taps, taps, strict=True)):
            close(f"tower, DeepStack tap {level} of medium {number}", found, tap, TOWER_ROUNDING)
        close(f"tower, features of medium {number}", own.features, features, TOWER_ROUNDING)


def check_logits(twin: Twin, talk: Talk, chunk: int | None = None) -> None:
    """At every position; with ``chunk``, prefilled in pieces of that many tokens through a cache."""
    prompt, vision = our_run(twin, talk)
    found = our_logits(twin, prompt, vision, chunk)
    assert found.isfinite().all(), "logits: not finite"
    pieces = "at once" if chunk is None else f"chunks of {chunk}"
    close(f"logits ({pieces})", found, expect(twin, talk).logits)


def check_warm(twin: Twin, talk: Talk) -> None:
    """A second turn on the first one's cache against the reference's full recompute."""
    model = twin.ours.model
    before, vision = our_run(twin, talk.first())
    cache = model.new_cache(8)
    with torch.no_grad():
        model(before, vision, cache)
        for place, token in enumerate(talk.answers[0], len(before)):
            model.step(token, place + before.rope_delta, cache)
        now, fresh = our_sequence(twin, talk, our_patches(twin, talk)), our_patches(twin, talk)[len(vision) :]
        start = cache.length
        hidden = model(now, [*vision, *model.encode(fresh)], cache)
    close("warm turn", model.decoder.logits(hidden).detach(), expect(twin, talk).logits[start:])


def check_answer(twin: Twin, talk: Talk) -> None:
    """Greedy tokens: the reference, fed our prompt and answer, would have chosen each of them.

    By induction that is the reference's own greedy answer. Two tokens closer than rounding are a tie.
    """
    own = our_answer(twin, *our_run(twin, talk))
    expected: Expected = expect(twin, talk)
    scores = logits(twin, expected.prompt, expected.media, own)[len(expected.prompt.ids[0]) - 1 : -1]
    rows, spread = torch.arange(ANSWER), float(scores.max() - scores.min())
    short = scores[rows, choose(twin, scores)] - scores[rows, torch.tensor(own)]
    worst = int(short.argmax())
    assert short[worst] <= ROUNDING * spread, f"answer: token {worst} is {short[worst]:.2g} below the best"


STAGES = {
    "patches": check_patches,
    "sequence": check_sequence,
    "tower": check_tower,
    "logits": check_logits,
    "answer": check_answer,
}
