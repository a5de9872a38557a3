"""What a chat asks of an engine, and what it hears back beside the events."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from vlm.chat.sampling import Sampling
from vlm.inputs.sampling import MediaOptions
from vlm.records import Patches, Progress, Sequence, Step

PREFILL_CHUNK = 512  # tokens; the longest stretch of a prompt that is read in one call


class OutOfMemory(Exception):
    """Memory ran out before the first word. What was kept only to save time is free again."""


class Stopped(Exception):
    """The person stopped while the model was inside one call."""


@dataclass(frozen=True)
class Turn:
    """One question with its media, and its answer as text and as the tokens that the model wrote.

    ``media`` are without pixels: the engine cuts them from ``resized`` where it needs them.
    """

    text: str
    media: tuple[Patches, ...] = ()
    files: tuple[str, ...] = ()
    options: MediaOptions = field(default_factory=MediaOptions)
    answer: str = ""
    answer_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Request:
    """A prompt for an engine.

    ``turns`` are the conversation, the new question last; ``sequence`` is the same as the model's tokens.
    """

    chat: int
    turns: tuple[Turn, ...]
    sequence: Sequence
    sampling: Sampling
    stopped: Callable[[], bool] = bool
    chunk: int = PREFILL_CHUNK


@dataclass(frozen=True)
class Outcome:
    """How an answer ended (a `Step.finish`) and its statistics."""

    finish: str
    stats: dict


Answering = Generator[Progress | Step, None, Outcome | None]
