"""The generation loop: prefill in chunks, then one token at a time, stoppable between any two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items

import torch

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
    vision: Items[VisionOut],
    cache: KVCache,
    stopped: Callable[[], bool] = bool,
    chunk: int = PREFILL_CHUNK,
) -> Iterator[Progress]:
    """Fill ``cache`` with all but the last prompt token, a chunk at a time.

    The last token is left for `generate`, which needs its logits.
    """
    first, last = cache.length, len(sequence) - 1
    count = last + 1 - first
    while cache.length < last and not stopped():
        yield Progress("prefill", f"reading {count:,} tokens", cache.length - first, count)
        with torch.inference_mode():
            model(sequence, vision, cache, stop=min(last, cache.length + chunk))


def generate(
    model: VisionLanguageModel,
    tokenizer: Tokenizer,
    sequence: Sequence,
    vision: Items[VisionOut],
    cache: KVCache,
    sampling: Sampling,
    stopped: Callable[[], bool] = bool,
) -> Iterator[Step]:
    """Stream Steps after a prefilled prompt; the last Step carries the reason it ended.

    ``cache`` must hold all but the last prompt token. Afterwards it holds the prompt and every generated
    token that was fed back, so the next turn can go on from it.
    """
    if stopped():
        return
    sampler = Sampler(sampling, sequence.ids)
    text = SafeText(tokenizer, sampling.stop)
    with torch.inference_mode():
        logits = model.decoder.logits(model(sequence, vision, cache))[-1]
    eos, context = model.config.tokens.eos, model.config.decoder.context_length
    room = min(sampling.max_new_tokens, context - len(sequence))
    limit = "length" if room == sampling.max_new_tokens else "context"
    for count in range(1, room + 1):
        token, logprob = sampler.pick(logits)
        index = len(sequence) + count - 1
        piece = "" if token in eos else text.add(token)
        endings = {
            "eos": token in eos,
            "stop": text.ended,
            "loop": sampler.loops,
            limit: count == room,
            "stopped": stopped(),
        }
        finish = next((reason for reason, holds in endings.items() if holds), None)
        if finish:
            yield Step(token, piece + text.rest(), index, logprob, finish)
            return
        yield Step(token, piece, index, logprob)
        with torch.inference_mode():
            logits = model.step(token, index + sequence.rope_delta, cache)
