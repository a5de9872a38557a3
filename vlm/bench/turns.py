"""A chat of many turns about one picture: what is left to do in turn 5, and what it would be from scratch."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from vlm.bench.models import random_model
from vlm.bench.rows import Row, faster
from vlm.chat.engine import Engine
from vlm.chat.sampling import Sampling
from vlm.chat.session import ChatSession
from vlm.records import Trace

TURNS, ANSWER = 5, 24  # tokens a turn is answered with
QUESTION = "What colour is the largest shape, where is it, and what stands to the left of it? " * 3


def turn5_first_token(model: str, layers: int | None, device: str, runs: int) -> Row:
    """Time to the first token of turn 5, warm against all computed anew; the tokens must agree."""
    built, tokenizer = random_model(model, layers=layers, device=device)
    warm = ChatSession(Engine(built, tokenizer, model))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "picture.png"
        noise = np.random.default_rng(0).integers(0, 255, (768, 1024, 3), np.uint8)
        Image.fromarray(noise).save(file)
        _ask(warm, [file])
        for _ in range(TURNS - 2):
            _ask(warm)
        ours, reference, agree, traces = [], [], True, []
        for _ in range(runs):
            cold = ChatSession(Engine(built, tokenizer, model))
            cold.turns = list(warm.turns)
            traces = [_ask(warm), _ask(cold)]
            ours.append(traces[0].stats["first_token_ms"])
            reference.append(traces[1].stats["first_token_ms"])
            agree &= warm.turns[-1].answer_ids == cold.turns[-1].answer_ids
            warm.undo()
    stats = traces[0].stats
    depth = "" if layers is None else f", {layers} layers"
    note = (
        f"{model} widths{depth}; {stats['prompt_tokens']:,} tokens, {stats['reused_tokens']:,} reused; "
        f"greedy tokens {'identical' if agree else 'DIFFER'}; reference: ours from scratch"
    )
    return faster("turn5_first_token", ours, reference, note=note)


def _ask(session: ChatSession, files: list[Path] | None = None) -> Trace:
    *_, trace = session.ask(QUESTION, files or [], Sampling(ANSWER))
    return trace
