"""What stays computed between turns: encoded media, shared by all chats, and each chat's keys and values."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import RLock

from vlm.models.cache import KVCache
from vlm.records import Patches, Sequence, VisionOut

Identity = list[tuple]


class VisionMemo:
    """Features and taps by content hash; beyond ``limit`` bytes the longest unused go first.

    For any number of threads: while one encodes, others plan their turns and look.
    """

    def __init__(self, limit: int):
        self.limit = limit
        self._lock = RLock()
        self._outs: OrderedDict[str, VisionOut] = OrderedDict()

    def __len__(self) -> int:
        return len(self._outs)

    @property
    def nbytes(self) -> int:
        with self._lock:
            return sum(out.nbytes for out in self._outs.values())

    def get(self, digest: str) -> VisionOut | None:
        with self._lock:
            if digest in self._outs:
                self._outs.move_to_end(digest)
            return self._outs.get(digest)

    def missing(self, media: Iterable[Patches]) -> list[Patches]:
        """The media that are not encoded yet, each once."""
        return list({p.digest: p for p in media if p.digest not in self._outs}.values())

    def put(self, outs: Iterable[VisionOut]) -> None:
        with self._lock:
            self._outs.update((out.digest, out) for out in outs)
            while self._outs and self.nbytes > self.limit:
                self._outs.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._outs.clear()


@dataclass
class Slot:
    """One chat's cache, and what makes each token in it the computation it was."""

    cache: KVCache
    identity: Identity = field(default_factory=list)

    def shared(self, sequence: Sequence) -> int:
        """How many tokens of ``sequence`` need no computing, from its start.

        At least one is always left, since its logits begin the answer. A cut inside a medium would leave
        part of it behind, so it moves back to the medium's start.
        """
        common = min(self.held(identity(sequence)), len(sequence) - 1)
        return _outside_media(sequence, common)

    def held(self, wanted: Identity) -> int:
        """How many of the wanted tokens the cache holds, from the start."""
        common = 0
        for old, new in zip(self.identity, wanted, strict=False):
            if old != new:
                break
            common += 1
        return min(common, self.cache.length)

    def keep(self, sequence: Sequence) -> None:
        """Note what the cache holds now: the beginning of ``sequence``."""
        self.identity = identity(sequence)[: self.cache.length]


class CachePool:
    """Slots by chat; beyond ``limit`` bytes the chats that were silent longest are computed again.

    For any number of threads, as `VisionMemo`.
    """

    def __init__(self, limit: int):
        self.limit = limit
        self._lock = RLock()
        self._slots: OrderedDict[int, Slot] = OrderedDict()

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def nbytes(self) -> int:
        with self._lock:
            return sum(slot.cache.nbytes for slot in self._slots.values())

    def get(self, chat: int) -> Slot | None:
        return self._slots.get(chat)

    def find(self, sequence: Sequence) -> Slot | None:
        """The slot, of any chat, that holds most of a sequence."""
        wanted = identity(sequence)
        with self._lock:
            return max(self._slots.values(), key=lambda slot: slot.held(wanted), default=None)

    def put(self, chat: int, slot: Slot) -> None:
        with self._lock:
            self._slots[chat] = slot
            self._slots.move_to_end(chat)
            while self.nbytes > self.limit and self.drop_oldest(but=chat):
                pass

    def drop_oldest(self, but: int) -> bool:
        """Forget the chat, other than ``but``, that was silent longest; False where there is none."""
        with self._lock:
            oldest = next((chat for chat in self._slots if chat != but), None)
            if oldest is not None:
                self.drop(oldest)
        return oldest is not None

    def drop(self, chat: int) -> None:
        with self._lock:
            self._slots.pop(chat, None)

    def clear(self) -> None:
        with self._lock:
            self._slots.clear()


def identity(sequence: Sequence) -> Identity:
    """What makes each token the same computation: its id and, for vision tokens, the medium's content."""
    keys: Identity = [(token,) for token in sequence.ids.tolist()]
    for span in sequence.spans:
        if span.media is not None:
            where = (sequence.media[span.media].digest, span.frame)
            keys[span.start : span.stop] = [(*key, *where) for key in keys[span.start : span.stop]]
    return keys


def _outside_media(sequence: Sequence, length: int) -> int:
    """``length``, moved back to the start of the media span that it would cut."""
    for span in sequence.spans:
        if span.media is not None and span.start < length < span.stop:
            return span.start
    return length
