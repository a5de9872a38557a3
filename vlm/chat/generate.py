"""The generation loop: prefill in chunks, then one token at a time, stoppable between any two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass

import torch
from torch import Tensor

from vlm.inputs.tokenizer import Tokenizer
from vlm.models.cache import KVCache
from vlm.models.model import VisionLanguageModel
from vlm.records import InputError, Progress, Sequence, Step, VisionOut

PREFILL_CHUNK = 512  # tokens; the longest stretch that a stop has to wait for


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. ``temperature`` 0 is greedy."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float = 1.0
    seed: int | None = None

    def __post_init__(self):
        if self.max_new_tokens < 1:
            raise InputError(f"max_new_tokens must be at least 1, not {self.max_new_tokens}")
        if self.temperature < 0:
            raise InputError(f"temperature must be 0 or more, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p must be above 0 and at most 1, not {self.top_p}")
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top_k must be at least 1, not {self.top_k}")


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
    last = len(sequence) - 1
    while cache.length < last and not stopped():
        yield Progress("prefill", "reading tokens", cache.length, len(sequence))
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
    generator = torch.Generator().manual_seed(sampling.seed) if sampling.seed is not None else None
    with torch.inference_mode():
        logits = model.decoder.logits(model(sequence, vision, cache))[-1]
    text = _SafeText(tokenizer)
    room = min(sampling.max_new_tokens, model.config.decoder.context_length - len(sequence))
    for count in range(1, room + 1):
        token, logprob = pick(logits, sampling, generator)
        index = len(sequence) + count - 1
        if token in model.config.tokens.eos:
            yield Step(token, text.rest(), index, logprob, "eos")
            return
        if count == room:
            reason = "length" if room == sampling.max_new_tokens else "context"
            yield Step(token, text.add(token) + text.rest(), index, logprob, reason)
            return
        if stopped():
            yield Step(token, text.add(token) + text.rest(), index, logprob, "stopped")
            return
        yield Step(token, text.add(token), index, logprob)
        with torch.inference_mode():
            logits = model.step(token, index + sequence.rope_delta, cache)


def pick(logits: Tensor, sampling: Sampling, generator: torch.Generator | None = None) -> tuple[int, float]:
    """Choose a token from (vocabulary,) logits; returns it with its log-probability under the model.

    The log-probability is that of the unmodified distribution, before temperature and cuts.
    """
    logprobs = logits.float().cpu().log_softmax(-1)
    if sampling.temperature == 0:
        token = int(logprobs.argmax())
    else:
        kept = _cut(logprobs / sampling.temperature, sampling)
        token = int(torch.multinomial(kept.softmax(-1), 1, generator=generator))
    return token, float(logprobs[token])


def _cut(scores: Tensor, sampling: Sampling) -> Tensor:
    """Set everything outside top-k and top-p to -inf; the best token always stays."""
    if sampling.top_k is not None:
        worst = scores.topk(min(sampling.top_k, len(scores))).values[-1]
        scores = scores.masked_fill(scores < worst, -torch.inf)
    if sampling.top_p < 1:
        ordered, order = scores.softmax(-1).sort(descending=True)
        beyond = ordered.cumsum(-1) - ordered >= sampling.top_p
        scores = scores.index_fill(0, order[beyond], -torch.inf)
    return scores


class _SafeText:
    """Turns tokens into text that can be shown: never half a character, never a control token.

    Byte-level tokenizers decode piece by piece, so only the tokens of an unfinished character wait.
    """

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._waiting: list[int] = []

    def add(self, token: int) -> str:
        self._waiting.append(token)
        return "" if self._decode().endswith("\ufffd") else self.rest()

    def rest(self) -> str:
        text = self._decode()
        self._waiting.clear()
        return text

    def _decode(self) -> str:
        return self._tokenizer.decode(self._waiting) if self._waiting else ""
