"""Prompt lookup: what checking several tokens costs against one, and what guessing brings in real answers."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from vlm.bench.answers import draw_scene
from vlm.bench.rows import Row, alternate, faster
from vlm.bench.stages import CONTEXT, Pair
from vlm.chat.engine import Engine
from vlm.chat.sampling import Sampling
from vlm.chat.session import ChatSession
from vlm.engines import open_engine
from vlm.records import Trace

CHECKED = (4, 8, 16)  # tokens in one call
GUESSES = 8
LONGEST = 64  # tokens
QUESTION = "Describe the picture."


def lookup(pair: Pair, runs: int) -> Iterator[Row]:
    """Rows ``lookup_check_N``, and ``lookup_repeats`` and ``lookup_new`` of the embedded model."""
    yield from _checking(pair, runs)
    yield from _answering(pair.device, runs)


def _checking(pair: Pair, runs: int) -> Iterator[Row]:
    """N tokens in one call; reference: N calls, which is what is saved where all guesses are right."""
    model = pair.ours
    cache = model.new_cache(CONTEXT + max(CHECKED))
    with torch.inference_mode():
        model.steps([index % 1000 for index in range(CONTEXT)], 0, cache)

        def call(count: int) -> None:
            model.steps(list(range(20, 20 + count)), CONTEXT, cache)[0, 0].item()
            cache.crop(CONTEXT)

        one, *several = alternate(runs, *(lambda n=n: call(n) for n in (1, *CHECKED)))
    for count, times in zip(CHECKED, several, strict=True):
        note = f"{pair.what}; {count} tokens checked at once on {CONTEXT:,}; reference: one by one"
        yield faster(f"lookup_check_{count}", times, [count * time for time in one], note=note)


def _answering(device: str, runs: int) -> Iterator[Row]:
    """Milliseconds a token of an answer, with guessing and without."""
    engine = open_engine("tiny", device=device)
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.png"
        draw_scene(picture)
        for name, earlier in (("lookup_repeats", 1), ("lookup_new", 0)):
            sides: tuple[list[Trace], list[Trace]] = [], []
            for _ in range(runs):
                for side, most in zip(sides, (GUESSES, 0), strict=True):
                    side.append(_answer(engine, picture, earlier, most))
            yield _row(name, *sides)


def _answer(engine: Engine, picture: Path, earlier: int, most: int) -> Trace:
    """The last of ``1 + earlier`` answers to the same question."""
    session = ChatSession(engine)
    for turn in range(earlier + 1):
        files = [] if turn else [picture]
        *_, trace = session.ask(QUESTION, files, Sampling(LONGEST, lookup=most if turn == earlier else 0))
    return trace


def _row(name: str, guessed: list[Trace], plain: list[Trace]) -> Row:
    stats = guessed[-1].stats
    same = "identical" if guessed[-1].answer == plain[-1].answer else "DIFFER"
    what = "asked again" if name == "lookup_repeats" else "asked once"
    note = (
        f"embedded model, {QUESTION!r} {what}: {stats['answer_tokens']} tokens, "
        f"{stats['accepted_tokens']} of {stats['guessed_tokens']} guesses right; answers {same}; "
        "milliseconds a token; reference: no guesses"
    )
    return faster(name, _a_token(guessed), _a_token(plain), note=note)


def _a_token(traces: list[Trace]) -> list[float]:
    return [trace.stats["decode_ms"] / trace.stats["answer_tokens"] for trace in traces]
