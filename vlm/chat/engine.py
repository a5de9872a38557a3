"""One loaded model that answers chats in turn, and remembers what it need not compute again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator
from collections.abc import Sequence as Items
from contextlib import contextmanager

import numpy as np
import torch

from vlm.chat import footprint
from vlm.chat.generate import generate, prefill
from vlm.chat.lookup import Guesses
from vlm.chat.memory import CachePool, Slot, VisionMemo
from vlm.chat.queue import Queue
from vlm.chat.request import Answering, Outcome, OutOfMemory, Request, Stopped
from vlm.chat.sampling import Sampling
from vlm.chat.stats import Clock, Pace, statistics
from vlm.config import ModelConfig
from vlm.inputs.patches import to_patches, with_pixels
from vlm.inputs.sequence import append_answer, build_sequence, user_message
from vlm.inputs.tokenizer import Tokenizer
from vlm.models.devices import free_bytes, is_out_of_memory, peak_bytes, release
from vlm.models.model import VisionLanguageModel
from vlm.records import Frames, Patches, Progress, Sequence, Step, VisionOut

MEMO_BYTES = 512 * 2**20
CACHE_BYTES = 2 * 2**30
SPARE_TOKENS = 64  # room in a new cache beyond the prompt; it grows when the answer is longer


class Engine:
    """One loaded model, shared by all chats.

    Args:
        quantize, quantize_reason: how the decoder's weights are stored, and why, for the statistics.
        memo_bytes: bound on encoded media. cache_bytes: bound on the keys and values of all chats.
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        tokenizer: Tokenizer,
        name: str,
        *,
        quantize: str = "none",
        quantize_reason: str = "",
        memo_bytes: int = MEMO_BYTES,
        cache_bytes: int = CACHE_BYTES,
    ):
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self.quantize, self.quantize_reason = quantize, quantize_reason
        self.queue, self.pace = Queue(), Pace()
        self.memo, self.caches = VisionMemo(memo_bytes), CachePool(cache_bytes)
        self._chats = itertools.count()

    @property
    def config(self) -> ModelConfig:
        return self.model.config

    def new_chat(self) -> int:
        """A number by which the engine tells one chat from another."""
        return next(self._chats)

    def forget(self, chat: int) -> None:
        """Drop what was kept for a chat; it can go on, and is then computed again."""
        self.caches.drop(chat)

    def shared_tokens(self, chat: int, sequence: Sequence) -> int:
        """How much of a prompt is in the chat's cache already."""
        slot = self.caches.get(chat)
        return slot.shared(sequence) if slot else 0

    def free_bytes(self) -> int:
        """Memory that a turn could use: what is free, and what is kept only to save time."""
        return free_bytes(self.model.device) + self.memo.nbytes + self.caches.nbytes

    def needed_bytes(self, sequence: Sequence, media: Items[Patches]) -> int:
        """Memory that a turn with such new ``media`` takes beside the weights."""
        return footprint.turn_bytes(
            self.config, self.model.dtype.itemsize, len(sequence) + SPARE_TOKENS, media
        )

    def warm_up(self) -> None:
        """Answer one small question about one small picture, so that the first real one is not slow."""
        edge = self.config.pixels.factor
        frames = Frames("image", "blank", np.zeros((1, edge, edge, 3), np.uint8), edge, edge, digest="")
        blank = to_patches(frames, self.config.pixels)
        messages = [user_message("Hello", [blank])]
        sequence = build_sequence(messages, [blank], self.tokenizer, self.config.tokens)
        for _ in self.answer(Request(self.new_chat(), (), sequence, Sampling(max_new_tokens=2))):
            pass
        self.free_memory()
        self.pace = Pace()  # what ran for the first time says little about the next

    def answer(self, request: Request) -> Answering:
        """Wait for the chat's turn, then stream Progress and Steps.

        Returns:
            The outcome, or None where the person stopped while waiting.

        Raises:
            OutOfMemory: before the first Step; later it only ends the answer.
        """
        clock = Clock()
        ticket = self.queue.join()
        try:
            while place := self.queue.place(ticket, timeout=0.1):
                if request.stopped():
                    return None
                yield Progress("waiting", _in_line(place), place)
            clock.lap("queue")
            return (yield from self._answer(request, clock))
        finally:
            self.queue.leave(ticket)

    def _answer(self, request: Request, clock: Clock) -> Answering:
        steps: list[Step] = []
        slot = self._open_slot(request)
        reused = slot.cache.length
        try:
            finish = yield from self._compute(request, slot, steps, clock)
        finally:  # also when the listener goes away
            slot.keep(append_answer(request.sequence, [step.token for step in steps]))
            self.caches.put(request.chat, slot)
        stats = self._statistics(request.sequence, steps, reused, clock, slot.cache.nbytes)
        if finish == "memory":
            del slot
            self.free_memory()
            if not steps:
                raise OutOfMemory
        return Outcome(finish, stats)

    def _compute(
        self, request: Request, slot: Slot, steps: list[Step], clock: Clock
    ) -> Generator[Progress | Step, None, str]:
        """See, read and write; fills ``steps`` and returns why it ended."""
        model, sequence, stopped = self.model, request.sequence, request.stopped
        try:
            seeing = self._see(sequence, slot.cache.length, stopped, clock)
            vision = yield from clock.timed("encode", seeing)
            with interruptible(model.decoder.layers, stopped):
                reading = prefill(model, sequence, vision, slot.cache, stopped, request.chunk)
                logits = yield from clock.timed("prefill", reading)
            if logits is None:
                return "stopped"
            clock.guesses = Guesses() if request.sampling.lookup else None
            how = (request.sampling, stopped, clock.guesses)
            writing = generate(model, self.tokenizer, sequence, logits, slot.cache, *how)
            for step in clock.timed("decode", writing):
                steps.append(step)
                yield step
        except Stopped:
            return "stopped"
        except Exception as error:
            if is_out_of_memory(error):
                return "memory"
            raise
        return steps[-1].finish

    def _open_slot(self, request: Request) -> Slot:
        """The chat's own cache cut to what this prompt shares with it, or a new one."""
        self._make_room(request)
        slot = self.caches.get(request.chat)
        if slot is None:
            slot = Slot(self.model.new_cache(len(request.sequence) + SPARE_TOKENS))
        slot.cache.crop(slot.shared(request.sequence))
        return slot

    def _make_room(self, request: Request) -> None:
        """Give up what is kept of other chats, the oldest first, where this turn needs its memory."""
        needed = self.needed_bytes(request.sequence, request.turns[-1].media if request.turns else ())
        while free_bytes(self.model.device) < needed and self.caches.drop_oldest(but=request.chat):
            release(self.model.device)

    def _see(
        self, sequence: Sequence, reused: int, stopped: Callable[[], bool], clock: Clock
    ) -> Generator[Progress, None, list[VisionOut | None]]:
        """Features of the media behind the first ``reused`` tokens; None for the others.

        What the memo has is not computed again; the rest goes through the tower in one call.
        """
        needed = {span.media for span in sequence.spans if span.media is not None and span.stop > reused}
        media = [sequence.media[index] for index in sorted(needed)]
        fresh = self.memo.missing(media)
        found = {patches.digest: self.memo.get(patches.digest) for patches in media}
        if fresh:
            yield Progress("encode", f"looking at {', '.join(patches.name for patches in fresh)}")
            whole = [with_pixels(patches, self.config.pixels) for patches in fresh]
            with interruptible(self.model.tower.blocks, stopped), torch.inference_mode():
                outs = self.model.encode(whole)
            self.memo.put(outs)
            found.update((out.digest, out) for out in outs)
            clock.encoded_patches = sum(patches.patch_count for patches in fresh)
        return [found.get(patches.digest) for patches in sequence.media]

    def free_memory(self) -> None:
        """Give back everything that is only kept to save time."""
        self.memo.clear()
        self.caches.clear()
        release(self.model.device)

    def _statistics(
        self, sequence: Sequence, steps: Items[Step], reused: int, clock: Clock, cache_bytes: int
    ) -> dict:
        self.pace.learn(clock, len(sequence) - reused)
        return {
            "model": self.name,
            **statistics(sequence, len(steps), reused, clock),
            **self.facts(),
            "kv_cache_bytes": cache_bytes,
            "peak_memory_bytes": peak_bytes(self.model.device),
        }

    def facts(self) -> dict:
        """What does not change from answer to answer."""
        model = self.model
        return {
            "context_length": self.config.decoder.context_length,
            "weights_bytes": model.nbytes,
            "device": str(model.device),
            "dtype": str(model.dtype).removeprefix("torch."),
            "attention": model.backend,
            "quantize": self.quantize,
            "quantize_reason": self.quantize_reason,
        }


@contextmanager
def interruptible(layers: Items[torch.nn.Module], stopped: Callable[[], bool]) -> Iterator[None]:
    """Look at the stop flag before each of ``layers`` runs; `Stopped` then leaves the model's call."""

    def look(*_):
        if stopped():
            raise Stopped

    hooks = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _in_line(place: int) -> str:
    return "waiting for another answer" if place == 1 else f"waiting for {place} other answers"
