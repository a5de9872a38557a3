"""Chats: what one person said and showed, and one turn of it as a stream of events."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Generator, Iterator
from collections.abc import Sequence as Items
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from vlm.chat.background import in_background
from vlm.chat.budget import BudgetError, Choice, Plan, largest, make_plan, prompt
from vlm.chat.engine import Engine
from vlm.chat.remote import AnyEngine
from vlm.chat.request import PREFILL_CHUNK, Outcome, OutOfMemory, Request, Stopped, Turn
from vlm.chat.sampling import Sampling
from vlm.inputs.media import MediaOptions, Medium, open_media
from vlm.inputs.sequence import append_answer
from vlm.inputs.tokenizer import Tokenizer
from vlm.records import InputError, MediaError, Patches, Progress, Sequence, Step, Trace

__all__ = ["BudgetError", "ChatSession", "Choice", "Engine", "Event", "Plan", "Turn"]

Event = Progress | Step | Trace
SMALL_CHUNK = 64  # tokens; how a prompt is read after memory ran out


class ChatSession:
    """A conversation with an engine. A turn that fails or is refused leaves it as it was.

    Args:
        open_media: how files are opened; `vlm.inputs.sandbox.Sandbox.open` for those of strangers.
    """

    def __init__(self, engine: AnyEngine, open_media: Callable[[str | Path], Medium] = open_media):
        self.engine, self.open_media = engine, open_media
        self.turns: list[Turn] = []
        self._chat = engine.new_chat()
        weakref.finalize(self, engine.forget, self._chat)

    def clear(self) -> None:
        self.turns.clear()
        self.engine.forget(self._chat)

    def plan(self, text: str, files: Items[str | Path] = (), options: MediaOptions | None = None) -> Plan:
        """What a turn would take; nothing is decoded.

        Raises:
            InputError: a file that cannot be used.
        """
        return self._plan(
            self.turns, text, [self.open_media(file) for file in files], options or MediaOptions()
        )

    def ask(
        self,
        text: str,
        files: Items[str | Path] = (),
        sampling: Sampling | None = None,
        options: MediaOptions | None = None,
        stopped: Callable[[], bool] = bool,
        choice: Choice | None = None,
    ) -> Iterator[Event]:
        """Stream one turn: Progress and Step events, and the turn's Trace as the last one.

        Args:
            files: images and videos that go before the text.
            options: sizes and frames of the files.
            stopped: looked at between frames, layers, prefill chunks and tokens.
            choice: the way out that was chosen after a `BudgetError`.

        Raises:
            BudgetError: the turn does not fit; its plan holds the choices.
            InputError: no question, or a file that cannot be used.
        """
        turn = Turn(text, files=tuple(map(str, files)), options=options or MediaOptions())
        yield from self._begin(self.turns, turn, sampling, stopped, choice)

    def retry(
        self,
        sampling: Sampling | None = None,
        stopped: Callable[[], bool] = bool,
        choice: Choice | None = None,
    ) -> Iterator[Event]:
        """Answer the last question again; with a temperature the answer may differ."""
        last = len(self.turns) - 1
        yield from self.edit(last, self._turn(last).text, sampling, stopped, choice)

    def edit(
        self,
        index: int,
        text: str,
        sampling: Sampling | None = None,
        stopped: Callable[[], bool] = bool,
        choice: Choice | None = None,
    ) -> Iterator[Event]:
        """Ask turn ``index`` again in other words: its media stay, the turns behind it go.

        Raises:
            InputError: no such turn, no question, or it does not fit; the conversation is as it was.
        """
        turn = replace(self._turn(index), text=text, answer="", answer_ids=())
        yield from self._begin(self.turns[:index], turn, sampling, stopped, choice)

    def undo(self) -> Turn:
        """Take back the last turn; what came before stays in the cache.

        Raises:
            InputError: there is no turn.
        """
        self._turn(len(self.turns) - 1)
        return self.turns.pop()

    def _turn(self, index: int) -> Turn:
        if not 0 <= index < len(self.turns):
            raise InputError(f"There is no turn {index + 1}: the chat has {len(self.turns)}.")
        return self.turns[index]

    def _begin(
        self,
        history: Items[Turn],
        turn: Turn,
        sampling: Sampling | None,
        stopped: Callable[[], bool],
        choice: Choice | None,
    ) -> Iterator[Event]:
        """Check, decode and answer. ``history`` is what goes before, and replaces the conversation once
        there is an answer."""
        if not turn.text.strip():
            raise InputError("Type a question first.")
        if choice:
            history = choice.history(history)
            if choice.options:
                turn = replace(turn, options=choice.options, media=())
        began = time.perf_counter()
        try:
            turn = yield from self._look(history, turn, stopped)
        except Stopped:
            return
        except MemoryError:
            raise InputError("Memory ran out while the files were read: use fewer or smaller ones.") from None
        media_ms, sampling = 1000 * (time.perf_counter() - began), sampling or Sampling()
        try:
            yield from self._answer(history, turn, sampling, stopped, media_ms)
            return
        except OutOfMemory:
            pass  # what the exception holds on to is free behind this line
        yield from self._try_smaller(history, turn, sampling, stopped)

    def _look(
        self, history: Items[Turn], turn: Turn, stopped: Callable[[], bool]
    ) -> Generator[Progress, None, Turn]:
        """The turn with its media decoded, once it is known to fit.

        Raises:
            Stopped: while a clip was read.
        """
        fresh = () if turn.media else [self.open_media(file) for file in turn.files]
        plan = self._plan(history, turn.text, fresh or turn.media, turn.options)
        if plan.problem:
            raise BudgetError(plan)
        media = turn.media
        for number, medium in enumerate(fresh):
            media = (*media, (yield from self._decode(medium, turn.options, number, len(fresh), stopped)))
        return replace(turn, media=media)

    def _decode(
        self, medium: Medium, options: MediaOptions, number: int, total: int, stopped: Callable[[], bool]
    ) -> Generator[Progress, None, Patches]:
        """One file, in a thread of its own, so that a clip's frames can be counted and the stop obeyed."""
        pixels, name = self.engine.config.pixels, medium.path.name
        opening = Progress("media", f"opening {name}", number, total)
        yield opening

        def work(report: Callable[[int, int], None]) -> Patches:
            return medium.patches(pixels, options, report)

        def told(at: tuple[int, int]) -> Progress:
            return Progress("media", f"reading {name}", *at) if medium.clip else opening

        return (yield from _each(told, in_background(work, stopped)))

    def _plan(
        self, history: Items[Turn], text: str, media: Items[Medium | Patches], options: MediaOptions
    ) -> Plan:
        """``media`` are files that are looked at anew for each choice, or decoded already and kept."""
        pixels = self.engine.config.pixels

        def look(options: MediaOptions) -> tuple[Patches, ...]:
            return tuple(m.plan(pixels, options) if isinstance(m, Medium) else m for m in media)

        return make_plan(self.engine, self._chat, history, text, look, options)

    def _answer(
        self,
        history: Items[Turn],
        turn: Turn,
        sampling: Sampling,
        stopped: Callable[[], bool],
        media_ms: float,
        chunk: int = PREFILL_CHUNK,
    ) -> Iterator[Event]:
        turns = (*history, turn)
        sequence = prompt(turns, self.engine)
        steps: list[Step] = []
        outcome: Outcome | None = None
        try:
            request = Request(self._chat, turns, sequence, sampling, stopped, chunk)
            outcome = yield from _each(partial(_noted, steps), self.engine.answer(request))
        finally:  # also when the listener goes away: what was said so far stays said
            if steps or outcome:
                answer, ids = "".join(step.text for step in steps), _ids(steps, self.engine.tokenizer)
                said = _without_end(ids, self.engine.config.tokens.eos)
                self.turns = [*history, replace(turn, answer=answer, answer_ids=said)]
        if outcome:
            whole = append_answer(sequence, ids)
            yield self._trace(whole, answer, outcome, media_ms)

    def _trace(self, whole: Sequence, answer: str, outcome: Outcome, media_ms: float) -> Trace:
        tokens = tuple(self.engine.tokenizer.token_text(token) for token in whole.ids.tolist())
        return Trace(whole, tokens, answer, outcome.finish, {**outcome.stats, "media_ms": round(media_ms, 1)})

    def _try_smaller(
        self, history: Items[Turn], turn: Turn, sampling: Sampling, stopped: Callable[[], bool]
    ) -> Iterator[Event]:
        """Once more after memory ran out: with half the frames or pixels, else in smaller pieces.

        Raises:
            InputError: that was too much as well, or the files are gone.
        """
        smaller, words = _smaller(turn)
        yield Progress("memory", f"out of memory: trying again with {words}")
        try:
            again = turn if smaller == turn.options else replace(turn, options=smaller, media=())
            again = yield from self._look(history, again, stopped)
            yield from self._answer(history, again, sampling, stopped, 0.0, SMALL_CHUNK)
        except Stopped:
            return
        except (OutOfMemory, MediaError) as error:
            raise InputError(
                f"The model ran out of memory, also with {words}. "
                "Use fewer or smaller files, clear the chat, or open a smaller or 4-bit model."
            ) from error


def _each(change: Callable[[Any], Event], events: Generator[Any, None, Any]) -> Generator[Event, None, Any]:
    """``map`` for a generator that also returns something: this returns the same."""
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            return end.value
        yield change(event)


def _noted(steps: list[Step], event: Progress | Step) -> Progress | Step:
    """The event; a step is kept in ``steps`` as well."""
    if isinstance(event, Step):
        steps.append(event)
    return event


def _ids(steps: Items[Step], tokenizer: Tokenizer) -> tuple[int, ...]:
    """The answer's tokens; where another machine wrote it, as our tokenizer cuts its text."""
    if any(step.token is None for step in steps):
        return tuple(tokenizer.encode("".join(step.text for step in steps)))
    return tuple(step.token for step in steps)


def _without_end(ids: tuple[int, ...], eos: Items[int]) -> tuple[int, ...]:
    return ids[:-1] if ids and ids[-1] in eos else ids


def _smaller(turn: Turn) -> tuple[MediaOptions, str]:
    """Options that take about half the memory, and their name."""
    area, frames = largest(turn.media)
    if not turn.files or not area:
        return turn.options, "the prompt read in smaller pieces"
    if frames >= 8:
        return replace(turn.options, max_frames=frames // 2, num_frames=None), f"{frames // 2} frames"
    options = replace(turn.options, max_pixels=area // 2, min_pixels=None)
    return options, f"pictures of at most {area // 2:,} pixels"
