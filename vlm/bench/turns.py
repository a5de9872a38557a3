"""A chat of many turns about one picture: what is left to do in turn 5, and what it would be from scratch."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence as Items
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vlm.bench.models import random_model
from vlm.bench.rows import Row, alternate, faster
from vlm.bench.stages import Pair
from vlm.chat.engine import Engine
from vlm.chat.sampling import Sampling
from vlm.chat.session import ChatSession
from vlm.inputs.tokenizer import Tokenizer
from vlm.models.model import VisionLanguageModel
from vlm.records import Trace

TURNS = 5
CHECKED = 4  # layers at most of the model whose tokens are compared
QUESTION = "What colour is the largest shape, where is it, and what stands to the left of it? " * 3


def turn5_first_token(
    pair: Pair, runs: int, size: tuple[int, int], checked: int = CHECKED, answer: int = 24
) -> list[Row]:
    """Time to the first token of turn 5, warm against all computed anew, and against transformers' decoder.

    That both write the same tokens is compared in float32, with ``checked`` layers (0: not at all): with
    random weights the likeliest tokens lie so close together that bfloat16's rounding, which differs with
    the size of a chunk, picks among them.
    """
    ours, anew, _, stats = _talk(pair.ours, pair.tokenizer, runs, size, answer)
    same = "greedy tokens not compared; "
    if checked := min(checked, pair.layers or checked):
        exact = random_model(pair.preset, layers=checked, device=pair.device, dtype=torch.float32)
        agree = _talk(*exact, 1, size, answer)[2]
        same = f"greedy tokens {'identical' if agree else 'DIFFER'} (float32, {checked} layers); "
    what = f"{pair.what}; {stats['prompt_tokens']:,} tokens, {stats['reused_tokens']:,} reused; "
    kept = _kept_by_hand(pair.ours, pair.reference, stats, runs)
    return [
        faster("turn5_first_token", ours, anew, note=f"{what}{same}reference: ours from scratch"),
        faster(
            "turn5_cache_by_hand", ours, kept,
            note=f"{what}ours with tokenizer, template and engine; reference: transformers' decoder alone",
        ),
    ]  # fmt: skip


@torch.no_grad()
def _kept_by_hand(
    model: VisionLanguageModel, reference: torch.nn.Module, stats: dict, runs: int
) -> list[float]:
    """Milliseconds that transformers takes for the new tokens of the turn when somebody kept its cache."""
    from transformers import DynamicCache

    language, cache = reference.model.language_model, DynamicCache()
    start, stop = stats["reused_tokens"], stats["prompt_tokens"]
    x = 0.02 * torch.randn(1, stop, model.config.decoder.hidden_size, device=model.device).to(model.dtype)
    positions = torch.arange(stop, device=model.device).expand(3, 1, stop)
    options = {"past_key_values": cache, "use_cache": True}
    language(inputs_embeds=x[:, :start], position_ids=positions[..., :start], **options)

    def append() -> None:
        out = language(inputs_embeds=x[:, start:], position_ids=positions[..., start:], **options)
        reference.lm_head(out.last_hidden_state[:, -1:]).argmax().item()
        cache.crop(start - stop)

    return alternate(runs, append, clock=time.perf_counter)[0]


def _talk(
    model: VisionLanguageModel, tokenizer: Tokenizer, runs: int, size: tuple[int, int], answer: int
) -> tuple[list[float], list[float], bool, dict]:
    """Milliseconds warm and cold, whether the answers agree, and the last warm statistics.

    ``size`` is the picture's height and width in pixels; each turn is answered with ``answer`` tokens.
    """
    warm = ChatSession(Engine(model, tokenizer, "random"))
    ours, reference, agree, stats = [], [], True, {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "picture.png"
        noise = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
        Image.fromarray(noise).save(file)
        _ask(warm, answer, [file])
        for _ in range(TURNS - 2):
            _ask(warm, answer)
        for run in range(runs):
            question = f"{run}. {QUESTION}"  # the cache still knows the last run's from its first word on
            cold = ChatSession(Engine(model, tokenizer, "random"))
            cold.turns = list(warm.turns)
            stats = _ask(warm, answer, question=question).stats
            ours.append(stats["first_token_ms"])
            reference.append(_ask(cold, answer, question=question).stats["first_token_ms"])
            agree &= warm.turns[-1].answer_ids == cold.turns[-1].answer_ids
            warm.undo()
    return ours, reference, agree, stats


def _ask(session: ChatSession, answer: int, files: Items[Path] = (), question: str = QUESTION) -> Trace:
    *_, trace = session.ask(question, files, Sampling(answer))
    return trace
