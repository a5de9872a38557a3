"""Chats: what one person said and showed, and what of it is still in the cache."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from vlm.chat.generate import generate, prefill
from vlm.chat.sampling import Sampling
from vlm.config import ModelConfig
from vlm.inputs.media import MediaOptions, read_media
from vlm.inputs.patches import to_patches
from vlm.inputs.sequence import append_answer, build_sequence, user_message
from vlm.inputs.tokenizer import Tokenizer
from vlm.models.cache import KVCache
from vlm.models.model import VisionLanguageModel
from vlm.records import Frames, InputError, Patches, Progress, Sequence, Step, Trace, VisionOut

Event = Progress | Step | Trace
MEMO_BYTES = 512 * 2**20


class Engine:
    """One loaded model, shared by all chats: it runs one turn at a time and remembers encoded media."""

    def __init__(
        self, model: VisionLanguageModel, tokenizer: Tokenizer, name: str, memo_bytes: int = MEMO_BYTES
    ):
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self.lock = threading.Lock()
        self._memo: OrderedDict[str, VisionOut] = OrderedDict()
        self._memo_bytes = memo_bytes

    @property
    def config(self) -> ModelConfig:
        return self.model.config

    def warm_up(self) -> None:
        """Run one small picture and question through the model, so that the first real one is not slow."""
        edge = self.config.pixels.factor
        blank = Frames("image", "blank", np.zeros((1, edge, edge, 3), np.uint8), edge, edge, digest="")
        with torch.inference_mode():
            self.model.encode([to_patches(blank, self.config.pixels)])
        for _ in ChatSession(self).ask("Hello", sampling=Sampling(max_new_tokens=2)):
            pass

    def missing(self, media: Iterable[Patches]) -> list[Patches]:
        """The media that are not encoded yet, each once."""
        return list({p.digest: p for p in media if p.digest not in self._memo}.values())

    def encode(self, media: Items[Patches]) -> list[VisionOut]:
        """Features of all media; those already in the memo are not computed again."""
        fresh = self.missing(media)
        with torch.inference_mode():
            found = {out.digest: out for out in self.model.encode(fresh)}
        for patches in media:
            out = found.setdefault(patches.digest, self._memo.get(patches.digest))
            self._memo[patches.digest] = out
            self._memo.move_to_end(patches.digest)
        self._forget()
        return [found[patches.digest] for patches in media]

    def _forget(self) -> None:
        while len(self._memo) > 1 and sum(_nbytes(out) for out in self._memo.values()) > self._memo_bytes:
            self._memo.popitem(last=False)


def _nbytes(out: VisionOut) -> int:
    return out.features.nbytes + sum(tap.nbytes for tap in out.taps)


@dataclass(frozen=True)
class Turn:
    """One question with its media, and the tokens of its answer."""

    text: str
    media: tuple[Patches, ...]
    answer_ids: tuple[int, ...]


@dataclass
class _Timer:
    """Milliseconds by stage of one turn."""

    began: float = field(default_factory=time.perf_counter)
    encode_ms: float = 0.0
    prefill_ms: float = 0.0
    first_token_ms: float | None = None
    decode_s: float = 0.0

    def since(self) -> float:
        return time.perf_counter() - self.began


class ChatSession:
    """A conversation. A turn that fails or is refused leaves it as it was."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self.turns: list[Turn] = []
        self._cache: KVCache | None = None
        self._cached: list[tuple] = []  # identity of every token in the cache

    def clear(self) -> None:
        self.turns.clear()
        self._cache, self._cached = None, []

    def ask(
        self,
        text: str,
        files: Items[str | Path] = (),
        sampling: Sampling | None = None,
        options: MediaOptions | None = None,
        stopped: Callable[[], bool] = bool,
    ) -> Iterator[Event]:
        """Stream one turn: Progress and Step events, and the turn's Trace as the last one.

        Args:
            files: images and videos that go before the text.
            stopped: looked at between prefill chunks and between tokens.

        Raises:
            InputError: no question, a file that cannot be used, or a prompt too long for the context.
        """
        _require_question(text)
        media = []
        for number, file in enumerate(files):
            yield Progress("media", f"opening {Path(file).name}", number, len(files))
            media.append(
                to_patches(
                    read_media(file, self.engine.config.pixels, options or MediaOptions()),
                    self.engine.config.pixels,
                )
            )
        yield from self._run(text, tuple(media), sampling, stopped)

    def undo(self) -> Turn:
        """Take back the last turn; what came before stays in the cache.

        Raises:
            InputError: there is no turn.
        """
        self._require_turn(len(self.turns) - 1)
        return self.turns.pop()

    def retry(self, sampling: Sampling | None = None, stopped: Callable[[], bool] = bool) -> Iterator[Event]:
        """Answer the last question again; with a temperature the answer may differ."""
        last = len(self.turns) - 1
        self._require_turn(last)
        yield from self.edit(last, self.turns[last].text, sampling, stopped)

    def edit(
        self,
        index: int,
        text: str,
        sampling: Sampling | None = None,
        stopped: Callable[[], bool] = bool,
    ) -> Iterator[Event]:
        """Ask turn ``index`` again in other words: its media stay, the turns behind it go.

        Raises:
            InputError: no such turn, no question, or a prompt too long; the conversation is as it was.
        """
        self._require_turn(index)
        _require_question(text)
        dropped = self.turns[index:]
        del self.turns[index:]
        try:
            yield from self._run(text, dropped[0].media, sampling, stopped)
        finally:
            if len(self.turns) == index:  # refused, failed or stopped before it was answered
                self.turns[index:] = dropped

    def _require_turn(self, index: int) -> None:
        if not 0 <= index < len(self.turns):
            raise InputError(f"There is no turn {index + 1}: the chat has {len(self.turns)}.")

    def _run(self, text, media, sampling, stopped) -> Iterator[Event]:
        """One turn, when it is this chat's turn to use the model."""
        sequence = self._sequence(text, media)
        self._check_context(sequence)
        while not self.engine.lock.acquire(timeout=0.1):
            if stopped():
                return
            yield Progress("waiting", "waiting for another answer to end")
        try:
            yield from self._answer(text, media, sequence, sampling or Sampling(), stopped)
        finally:
            self.engine.lock.release()

    def _sequence(self, text: str, media: tuple[Patches, ...]) -> Sequence:
        messages = [message for turn in self.turns for message in _messages(turn)]
        messages.append(user_message(text, media))
        shown = tuple(patches for turn in self.turns for patches in turn.media) + media
        return build_sequence(messages, shown, self.engine.tokenizer, self.engine.config.tokens)

    def _check_context(self, sequence: Sequence) -> None:
        context = self.engine.config.decoder.context_length
        if len(sequence) >= context:
            raise InputError(
                f"This chat would need {len(sequence):,} tokens and the model's context holds {context:,}. "
                "Clear the chat, or use fewer or smaller files."
            )

    def _answer(self, text, media, sequence, sampling, stopped) -> Iterator[Event]:
        timer, engine = _Timer(), self.engine
        fresh = engine.missing(sequence.media)
        if fresh:
            yield Progress("encode", f"looking at {', '.join(patches.name for patches in fresh)}")
        start = time.perf_counter()
        vision = engine.encode(sequence.media)
        timer.encode_ms = 1000 * (time.perf_counter() - start)
        cache, reused = self._reuse(sequence)
        start = time.perf_counter()
        yield from prefill(engine.model, sequence, vision, cache, stopped)
        steps: list[Step] = []
        try:
            for step in generate(engine.model, engine.tokenizer, sequence, vision, cache, sampling, stopped):
                if not steps:
                    timer.prefill_ms = 1000 * (time.perf_counter() - start)
                    timer.first_token_ms = 1000 * timer.since()
                    start = time.perf_counter()
                steps.append(step)
                yield step
        finally:  # also when the listener goes away: what was said so far stays said
            timer.decode_s = time.perf_counter() - start
            trace = self._commit(text, media, sequence, steps, cache)
        yield Trace(**trace, stats=_stats(engine, sequence, steps, cache, reused, timer))

    def _reuse(self, sequence: Sequence) -> tuple[KVCache, int]:
        """A cache that holds the longest prefix this prompt shares with what was computed before."""
        identity = _identity(sequence)
        shared = 0
        for old, new in zip(self._cached, identity, strict=False):
            if old != new:
                break
            shared += 1
        shared = min(_outside_media(sequence, shared), len(sequence) - 1)
        if self._cache is None:
            self._cache = self.engine.model.new_cache(len(sequence) + 64)
        self._cache.crop(min(shared, self._cache.length))
        self._cached = identity
        return self._cache, self._cache.length

    def _commit(self, text, media, sequence, steps, cache) -> dict:
        """Add the turn to the conversation; returns the Trace's fields but for the statistics."""
        ids = [step.token for step in steps]
        eos = self.engine.config.tokens.eos
        said = tuple(ids[:-1] if ids and ids[-1] in eos else ids)
        self.turns.append(Turn(text, media, said))
        whole = append_answer(sequence, ids)
        self._cached = _identity(whole)[: cache.length]
        tokenizer = self.engine.tokenizer
        return {
            "sequence": whole,
            "tokens": tuple(tokenizer.token_text(token) for token in whole.ids.tolist()),
            "answer": "".join(step.text for step in steps),
            "finish": steps[-1].finish or "stopped" if steps else "stopped",
        }


def _require_question(text: str) -> None:
    if not text.strip():
        raise InputError("Type a question first.")


def _messages(turn: Turn) -> list[dict]:
    return [
        user_message(turn.text, turn.media),
        {"role": "assistant", "content": "", "ids": list(turn.answer_ids)},
    ]


def _identity(sequence: Sequence) -> list[tuple]:
    """What makes each token the same computation: its id and, for vision tokens, the medium's content."""
    keys: list[tuple] = [(token,) for token in sequence.ids.tolist()]
    for span in sequence.spans:
        if span.media is not None:
            digest = sequence.media[span.media].digest
            keys[span.start : span.stop] = [
                (key[0], digest, span.frame) for key in keys[span.start : span.stop]
            ]
    return keys


def _outside_media(sequence: Sequence, length: int) -> int:
    """``length``, moved back to the start of the media span that it would cut."""
    for span in sequence.spans:
        if span.media is not None and span.start < length < span.stop:
            return span.start
    return length


def _stats(engine, sequence, steps, cache, reused, timer) -> dict:
    """Figures of one turn; times in milliseconds, sizes in bytes."""
    kinds = ("text", "image", "video", "special", "answer")
    computed = len(sequence) - reused
    return {
        "model": engine.name,
        "prompt_tokens": len(sequence),
        "prompt_tokens_by_kind": {kind: sequence.count(kind) for kind in kinds},
        "reused_tokens": reused,
        "computed_tokens": computed,
        "answer_tokens": len(steps),
        "encode_ms": round(timer.encode_ms, 1),
        "prefill_ms": round(timer.prefill_ms, 1),
        "prefill_tokens_per_s": round(1000 * computed / timer.prefill_ms, 1) if timer.prefill_ms else None,
        "first_token_ms": round(timer.first_token_ms, 1) if timer.first_token_ms else None,
        "decode_tokens_per_s": round((len(steps) - 1) / timer.decode_s, 1) if len(steps) > 1 else None,
        "context_length": engine.config.decoder.context_length,
        "kv_cache_bytes": cache.nbytes,
        "weights_bytes": engine.model.nbytes,
        "device": str(engine.model.device),
        "dtype": str(engine.model.dtype).removeprefix("torch."),
        "attention": engine.model.backend,
    }
