"""ZeroGPU on Hugging Face Spaces: a turn runs in a process of its own that has a GPU for a while.

What crosses over is pickled, so the conversation goes there and comes back, and its cache stays behind.
Elsewhere nothing here is used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from ui.state import Ask
from vlm.chat.session import AnyEngine, ChatSession, Event, Turn
from vlm.inputs.media import open_media

HERE = bool(os.environ.get("SPACES_ZERO_GPU"))
# The process with the GPU finds these here, since it is a copy of this one.
_engine: AnyEngine | None = None
_open_media = open_media


def offer(engine: AnyEngine) -> None:
    """Make the engine known before the first turn."""
    global _engine
    _engine = engine


def seconds(turns: list[Turn], ask: Ask, *_) -> int:
    """How long the GPU is asked for: quotas count it, and longer waits are given to shorter asks."""
    return min(180, 30 + ask.settings.max_new_tokens // 8 + 10 * len(ask.files))


def events(
    chat: ChatSession, ask: Ask, index: int | None, stopped: Callable[[], bool], run
) -> Iterator[Event]:
    """A turn as ``run(chat, ask, index, stopped)`` streams it, in the process with the GPU."""
    global _open_media
    _open_media = chat.open_media
    for event in _with_gpu(run)(chat.turns, ask, index):
        if isinstance(event, list):
            chat.turns = event
        else:
            yield event
        if stopped():
            return


def _with_gpu(run):
    import spaces

    @spaces.GPU(duration=seconds)
    def turn(turns: list[Turn], ask: Ask, index: int | None) -> Iterator[Event | list[Turn]]:
        chat = ChatSession(_engine, _open_media)
        chat.turns = turns
        yield from run(chat, ask, index, bool)
        yield chat.turns

    return turn
