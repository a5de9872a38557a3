"""What a turn will take, before any of its media is decoded, and what to choose where it does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass, replace
from typing import Literal

from vlm.chat.remote import AnyEngine
from vlm.chat.request import Turn
from vlm.inputs.sampling import MediaOptions
from vlm.inputs.sequence import build_sequence, user_message
from vlm.records import InputError, Patches, Sequence

SMALLER = (3 / 4, 1 / 2, 1 / 4, 1 / 8, 1 / 16)  # shares of pixels or frames that are tried, largest first
ROOMY = 3 / 4  # of the context; what a chat should take after it has forgotten turns


@dataclass(frozen=True)
class Choice:
    """One way to make a turn fit: other options for its media, or older turns without theirs.

    ``kind`` is ``pixels``, ``frames`` (both change ``options``), ``media`` or ``turns``: the oldest
    ``drop`` turns lose their media, or go altogether.
    """

    kind: Literal["pixels", "frames", "media", "turns"]
    text: str
    tokens: int  # of the prompt, if this is chosen
    options: MediaOptions | None = None
    drop: int = 0

    def history(self, turns: Items[Turn]) -> list[Turn]:
        """The conversation as this choice leaves it."""
        if self.kind == "turns":
            return list(turns[self.drop :])
        return [without_media(turn) for turn in turns[: self.drop]] + list(turns[self.drop :])


@dataclass(frozen=True)
class Plan:
    """The next prompt as it will be, counted exactly, and what it needs.

    ``media`` are the new turn's, ``sequence`` is the whole prompt. ``seconds`` to the first word at the
    pace of this machine so far, None where that is not known yet. ``problem`` says what does not fit.
    """

    media: tuple[Patches, ...]
    sequence: Sequence
    new_tokens: int
    context_length: int
    memory_bytes: int
    free_bytes: int
    seconds: float | None
    problem: str | None = None
    choices: tuple[Choice, ...] = ()

    @property
    def left(self) -> int:
        """Tokens of the context that remain for the answer and for later turns."""
        return self.context_length - len(self.sequence)


class BudgetError(InputError):
    """A turn does not fit. ``plan.choices`` are the ways out, and the message names them."""

    def __init__(self, plan: Plan):
        ways = "; ".join(choice.text for choice in plan.choices)
        super().__init__(f"{plan.problem} " + (f"Choose: {ways}." if ways else "Ask a shorter question."))
        self.plan = plan


def without_media(turn: Turn) -> Turn:
    return replace(turn, media=(), files=())


def largest(media: Items[Patches]) -> tuple[int, int]:
    """Pixels of the largest picture or frame, and frames of the longest clip; 0 where there is none."""
    area = max((m.resized.shape[1] * m.resized.shape[2] for m in media), default=0)
    return area, max((len(m.resized) for m in media if m.kind == "video"), default=0)


def prompt(turns: Items[Turn], engine: AnyEngine) -> Sequence:
    """The tokens of a conversation whose last turn has no answer yet."""
    messages = []
    for turn in turns:
        messages.append(user_message(turn.text, turn.media))
        messages.append({"role": "assistant", "content": "", "ids": list(turn.answer_ids)})
    media = [patches for turn in turns for patches in turn.media]
    return build_sequence(messages[:-1], media, engine.tokenizer, engine.config.tokens)


def make_plan(
    engine: AnyEngine,
    chat: int,
    history: Items[Turn],
    text: str,
    look: Callable[[MediaOptions], tuple[Patches, ...]],
    options: MediaOptions,
) -> Plan:
    """Count the prompt of a new turn.

    Args:
        look: the turn's media under some options, without pixels.
    """
    draft = _Draft(engine, chat, tuple(history), text, look, options)
    plan = draft.plan()
    if plan.problem is None:
        return plan
    return replace(plan, choices=tuple(draft.choices(plan)))


@dataclass(frozen=True)
class _Draft:
    """A turn that is not asked yet."""

    engine: AnyEngine
    chat: int
    history: tuple[Turn, ...]
    text: str
    look: Callable[[MediaOptions], tuple[Patches, ...]]
    options: MediaOptions

    def plan(self) -> Plan:
        engine, media = self.engine, self.look(self.options)
        sequence = prompt([*self.history, Turn(self.text, media)], engine)
        new = len(sequence) - engine.shared_tokens(self.chat, sequence)
        patches = sum(medium.patch_count for medium in media)
        need, free = engine.needed_bytes(sequence, media), engine.free_bytes()
        context = engine.config.decoder.context_length
        problem = _problem(len(sequence), context, need, free)
        return Plan(media, sequence, new, context, need, free, engine.pace.seconds(patches, new), problem)

    def choices(self, plan: Plan) -> Iterator[Choice]:
        """For each way out the mildest step that fits, if any does.

        Turns that go change the prompt's beginning, so all of it is read again: enough of them go at once
        that the next questions fit as well.
        """
        area, frames = largest(plan.media)
        drafts = (
            (self._smaller("pixels", int(area * share)) for share in SMALLER if area),
            (self._smaller("frames", max(2, int(frames * share))) for share in SMALLER if frames > 2),
            (self._dropping("media", n + 1) for n, turn in enumerate(self.history) if turn.media),
            (self._dropping("turns", n + 1) for n in range(len(self.history))),
        )
        for way in drafts:
            mildest = None
            for choice in filter(None, way):
                mildest = mildest or choice
                if choice.kind != "turns" or choice.tokens <= ROOMY * plan.context_length:
                    mildest = choice
                    break
            if mildest:
                yield mildest

    def _smaller(self, kind: Literal["pixels", "frames"], most: int) -> Choice | None:
        limits = {"max_pixels": most, "min_pixels": None}
        if kind == "frames":
            limits = {"max_frames": most, "num_frames": None}
        options = replace(self.options, **limits)
        plan = replace(self, options=options).plan()
        words = f"pictures of at most {most:,} pixels" if kind == "pixels" else f"at most {most} frames"
        return _choice(kind, f"{words} ({len(plan.sequence):,} tokens)", plan, options=options)

    def _dropping(self, kind: Literal["media", "turns"], count: int) -> Choice | None:
        history = Choice(kind, "", 0, drop=count).history(self.history)
        plan = replace(self, history=tuple(history)).plan()
        what = "the files of the oldest" if kind == "media" else "the oldest"
        turns = "turn" if count == 1 else f"{count} turns"
        return _choice(kind, f"forget {what} {turns} ({len(plan.sequence):,} tokens)", plan, drop=count)


def _choice(kind, text: str, plan: Plan, **how) -> Choice | None:
    return None if plan.problem else Choice(kind, text, len(plan.sequence), **how)


def _problem(tokens: int, context: int, need: int, free: int) -> str | None:
    if tokens >= context:
        return f"This chat would need {tokens:,} tokens and the model's context holds {context:,}."
    if need > free:
        return f"This turn would need {_size(need)} of memory and {_size(free)} are free."
    return None


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
