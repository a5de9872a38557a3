"""One question under two settings (pixels, frames, quantisation, model), side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass
from pathlib import Path

from vlm.chat.remote import AnyEngine
from vlm.chat.sampling import Sampling
from vlm.chat.session import ChatSession, Event
from vlm.inputs.media import MediaOptions, Medium, open_media
from vlm.lens.attention import Looks, look
from vlm.lens.subject import Lens
from vlm.lens.words import Word, answer_words
from vlm.records import InputError, Trace


@dataclass(frozen=True)
class Side:
    """One of the two: its trace and where its words looked; ``why`` says why there are no looks."""

    label: str
    trace: Trace
    words: tuple[Word, ...] = ()
    looks: Looks | None = None
    why: str = ""


def ask_side(
    engine: AnyEngine,
    label: str,
    question: str,
    files: Items[str | Path],
    options: MediaOptions | None = None,
    sampling: Sampling | None = None,
    stopped: Callable[[], bool] = bool,
    open_media: Callable[[str | Path], Medium] = open_media,
) -> Iterator[Event | Side]:
    """Ask in a new chat, pass the events on, then look; the last event is the side unless it was stopped.

    Args:
        open_media: how files are opened, see `ChatSession`.

    Raises:
        InputError: the question or a file cannot be used under these settings.
    """
    trace = None
    for event in ChatSession(engine, open_media).ask(question, files, sampling, options, stopped):
        trace = event if isinstance(event, Trace) else None
        yield event
    if trace is None:
        return
    try:
        yield look_at(engine, label, trace)
    except InputError as error:
        yield Side(label, trace, why=str(error))


def look_at(engine: AnyEngine, label: str, trace: Trace) -> Side:
    """A turn that was asked already, as a side.

    Raises:
        InputError: the engine cannot be looked into, or is busy.
    """
    lens, words = Lens(engine), answer_words(trace, engine.tokenizer)
    if not words or not trace.sequence.media:
        return Side(label, trace, why="There is no picture, or no word that could have looked at it.")
    with lens.subject(trace.sequence) as subject:
        return Side(label, trace, tuple(words), look(subject, words, engine.config.looking_heads))


def figures(side: Side) -> dict[str, float | str | None]:
    """What is compared in numbers, by name; times in milliseconds, None where nobody measured."""
    stats = side.trace.stats
    return {
        "Model": stats.get("model"),
        "Weights": stats.get("quantize"),
        "Vision tokens": sum(patches.tokens for patches in side.trace.sequence.media),
        "Prompt tokens": stats.get("prompt_tokens"),
        "Answer tokens": stats.get("answer_tokens"),
        "Vision, ms": stats.get("encode_ms"),
        "Prompt, ms": stats.get("prefill_ms"),
        "First word after, ms": stats.get("first_token_ms"),
        "Tokens a second": stats.get("decode_tokens_per_s"),
        "Weights, bytes": stats.get("weights_bytes"),
        "Cache, bytes": stats.get("kv_cache_bytes"),
    }
