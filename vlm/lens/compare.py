"""One question under two settings (pixels, frames, quantisation, model), side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass
from pathlib import Path

from vlm.chat.remote import AnyEngine
from vlm.chat.sampling import Sampling
from vlm.chat.session import BudgetError, ChatSession, Event, Turn
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
    history: Items[Turn] = (),
) -> Iterator[Event | Side]:
    """Ask in a new chat, pass the events on, then look; the last event is the side unless it was stopped.

    Args:
        open_media: how files are opened, see `ChatSession`.
        history: what was said before, see `told_again`; its oldest turns are left out where they do not fit.

    Raises:
        InputError: the question or a file cannot be used under these settings.
    """
    chat, trace = ChatSession(engine, open_media), None
    chat.turns.extend(history)
    try:
        for event in chat.ask(question, files, sampling, options, stopped):
            trace = event if isinstance(event, Trace) else None
            yield event
    except BudgetError:
        if not history:
            raise
        rest = history[1:]
        yield from ask_side(engine, label, question, files, options, sampling, stopped, open_media, rest)
        return
    if trace is None:
        return
    try:
        yield look_at(engine, label, trace)
    except InputError as error:
        yield Side(label, trace, why=str(error))


def told_again(
    engine: AnyEngine,
    question: str,
    files: Items[str | Path],
    answer: str,
    options: MediaOptions | None = None,
    open_media: Callable[[str | Path], Medium] = open_media,
) -> Turn:
    """An earlier turn as another engine, or other options, would have had it; the answer stays.

    Raises:
        InputError: a file cannot be used under these options.
    """
    options = options or MediaOptions()
    media = tuple(open_media(file).patches(engine.config.pixels, options) for file in files)
    ids = tuple(engine.tokenizer.encode(answer))
    return Turn(question, media, tuple(map(str, files)), options, answer, ids)


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
    stats, media = side.trace.stats, side.trace.sequence.media
    remembered = media and stats.get("encode_ms") == 0  # from an earlier turn or comparison
    return {
        "Model": stats.get("model"),
        "Quantisation": stats.get("quantize"),
        "Vision tokens": sum(patches.tokens for patches in media),
        "Prompt tokens": stats.get("prompt_tokens"),
        "Answer tokens": stats.get("answer_tokens"),
        "Vision, ms": "remembered" if remembered else stats.get("encode_ms"),
        "Prompt, ms": stats.get("prefill_ms"),
        "First word after, ms": stats.get("first_token_ms"),
        "Tokens a second": stats.get("decode_tokens_per_s"),
        "Weights, bytes": stats.get("weights_bytes"),
        "Cache, bytes": stats.get("kv_cache_bytes"),
    }
