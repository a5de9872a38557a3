"""A turn that is over, with what the instruments need of it, and the way to it through an engine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from vlm.chat.engine import Engine
from vlm.chat.memory import Slot, identity
from vlm.chat.remote import AnyEngine
from vlm.chat.request import OutOfMemory, Request
from vlm.chat.sampling import Sampling
from vlm.inputs.patches import with_pixels
from vlm.models.cache import KVCache
from vlm.models.model import VisionLanguageModel
from vlm.records import InputError, Sequence, VisionOut

WAIT = 20.0  # seconds that a look waits for answers that are being written

FAR = "The model runs on another machine, which says its words but not what it looked at."
BUSY = "The model is answering someone: look again when it is done."
NO_MEMORY = "There is not enough memory to read this turn again: clear the chat or use smaller pictures."


@dataclass(frozen=True)
class Subject:
    """One turn as an instrument sees it.

    ``sequence`` includes the answer; ``cache`` holds the keys and values of all of it, though perhaps not of
    the last token. ``recomputed`` says that the chat's own cache had gone on and the turn was read once more.
    """

    model: VisionLanguageModel
    sequence: Sequence
    cache: KVCache
    see: Callable[[int], VisionOut]  # features and taps of the medium of that index
    recomputed: bool = False


class Lens:
    """The instruments' way into an engine; it waits for its turn as a chat does.

    Raises:
        InputError: the engine is on another machine.
    """

    def __init__(self, engine: AnyEngine):
        if not isinstance(engine, Engine):
            raise InputError(FAR)
        self.engine = engine
        self._chat = engine.new_chat()  # keeps the last turn that had to be read again
        self._lock = threading.Lock()

    @contextmanager
    def subject(self, sequence: Sequence, wait: float = WAIT) -> Iterator[Subject]:
        """The turn that ended with ``sequence``; nobody else uses the model meanwhile.

        Where the chat's cache was let go, or an edit has replaced the turn in it, the turn is read once more
        and then kept like a chat of its own.

        Args:
            wait: seconds to wait while others are being answered.

        Raises:
            InputError: the model stays busy, or the memory for reading the turn again is not there.
        """
        if not self._lock.acquire(timeout=wait):
            raise InputError(BUSY)
        try:
            slot, recomputed = self.engine.caches.find(sequence), False
            if not _holds(slot, sequence):
                slot, recomputed = self._read_again(sequence, wait), True
            with self._turn_at_model(wait):
                if not _holds(slot, sequence):  # its chat went on while this waited
                    raise InputError(BUSY)
                yield Subject(self.engine.model, sequence, slot.cache, self._seeing(sequence), recomputed)
        finally:
            self._lock.release()

    def _read_again(self, sequence: Sequence, wait: float) -> Slot:
        """The turn as a question of the lens's own, whose answer nobody reads."""
        deadline = time.monotonic() + wait
        waiting = {"is": True}

        def late() -> bool:
            return waiting["is"] and time.monotonic() > deadline

        request = Request(self._chat, (), _without_last(sequence), Sampling(max_new_tokens=1), late)
        try:
            for event in self.engine.answer(request):
                waiting["is"] = getattr(event, "stage", "") == "waiting"
        except OutOfMemory:
            raise InputError(NO_MEMORY) from None
        slot = self.engine.caches.get(self._chat)
        if not _holds(slot, sequence):
            raise InputError(BUSY if waiting["is"] else NO_MEMORY)
        return slot

    @contextmanager
    def _turn_at_model(self, wait: float) -> Iterator[None]:
        queue, deadline = self.engine.queue, time.monotonic() + wait
        ticket = queue.join()
        try:
            while queue.place(ticket, timeout=0.1):
                if time.monotonic() > deadline:
                    raise InputError(BUSY)
            yield
        finally:
            queue.leave(ticket)

    def _seeing(self, sequence: Sequence) -> Callable[[int], VisionOut]:
        def see(index: int) -> VisionOut:
            patches, memo = sequence.media[index], self.engine.memo
            if (known := memo.get(patches.digest)) is None:
                with torch.inference_mode():
                    [known] = self.engine.model.encode([with_pixels(patches, self.engine.config.pixels)])
                memo.put([known])
            return known

        return see


def _holds(slot: Slot | None, sequence: Sequence) -> bool:
    """Whether a slot has all that a look at the sequence needs: every token but the last."""
    return slot is not None and slot.held(identity(sequence)) >= len(sequence) - 1


def _without_last(sequence: Sequence) -> Sequence:
    """The tokens that the model was fed: all but the last of the answer."""
    *spans, last = sequence.spans
    kept = (replace(last, stop=last.stop - 1),) if len(last) > 1 else ()
    return replace(
        sequence, ids=sequence.ids[:-1], positions=sequence.positions[:, :-1], spans=(*spans, *kept)
    )
