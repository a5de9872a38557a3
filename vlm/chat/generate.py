"""The generation loop: prefill in chunks, then one token at a time, stoppable between any two."""

from __future__ import annotations

from collections.abc import Callable, Generator
from collections.abc import Sequence as Items

import torch
from torch import Tensor

from vlm.chat.lookup import Guesses, Lookahead
from vlm.chat.request import PREFILL_CHUNK
from vlm.chat.sampling import Sampler, Sampling
from vlm.chat.text import SafeText
from vlm.inputs.tokenizer import Tokenizer
from vlm.models.cache import KVCache
from vlm.models.model import VisionLanguageModel
from vlm.records import Progress, Sequence, Step, VisionOut


def prefill(
    model: VisionLanguageModel,
    sequence: Sequence,
    vision: Items[VisionOut | None],
    cache: KVCache,
    stopped: Callable[[], bool] = bool,
    chunk: int = PREFILL_CHUNK,
) -> Generator[Progress, None, Tensor | None]:
    """Read what the cache lacks of the prompt, a chunk at a time.

    Args:
        vision: parallel to ``sequence.media``; None for media that lie in the cache whole.

    Returns:
        Logits (vocabulary,) of the token that follows the prompt, or None where the reading was stopped.
    """
    first = cache.length
    count = len(sequence) - first
    while not stopped():
        yield Progress("prefill", f"reading {count:,} tokens", cache.length - first, count)
        with torch.inference_mode():
            hidden = model(sequence, vision, cache, stop=min(len(sequence), cache.length + chunk))
            if cache.length == len(sequence):
                return model.decoder.logits(hidden[-1:])[0]
    return None


def generate(
    model: VisionLanguageModel,
    tokenizer: Tokenizer,
    sequence: Sequence,
    logits: Tensor,
    cache: KVCache,
    sampling: Sampling,
    stopped: Callable[[], bool] = bool,
    count: Guesses | None = None,
) -> Generator[Step, None, None]:
    """Stream Steps after a prompt; the last Step carries the reason it ended.

    Args:
        logits: (vocabulary,) from `prefill`.
        count: filled with what came of guessing ahead.
        cache: holds the prompt; afterwards also every generated token that was fed back, so that the next
            turn can go on from it.

    With ``sampling.lookup`` several tokens may be checked in one call of the model (`vlm.chat.lookup`).
    """
    sampler = Sampler(sampling, sequence.ids)
    text = SafeText(tokenizer, sampling.stop)
    eos, context = model.config.tokens.eos, model.config.decoder.context_length
    room = min(sampling.max_new_tokens, context - len(sequence))
    ahead = Lookahead(model, cache, sequence, sampling.lookup, len(sequence) + room, count or Guesses())
    limit = "length" if room == sampling.max_new_tokens else "context"
    try:
        for number in range(1, room + 1):
            token, logprob = sampler.pick(logits)
            index = len(sequence) + number - 1
            piece = "" if token in eos else text.add(token)
            endings = {
                "eos": token in eos,
                "stop": text.ended,
                "loop": sampler.loops,
                limit: number == room,
                "stopped": stopped(),
            }
            finish = next((reason for reason, holds in endings.items() if holds), None)
            if finish:
                yield Step(token, piece + text.rest(), index, logprob, finish)
                return
            yield Step(token, piece, index, logprob)
            with torch.inference_mode():
                logits = ahead.feed(token)
    finally:
        ahead.close()
