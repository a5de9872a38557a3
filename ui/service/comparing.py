"""One question under two settings: both sides as the Compare panel shows them."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Items
from dataclasses import replace
from typing import TYPE_CHECKING

from ui import draw
from ui.service.glass import shades
from ui.service.records import Choice, Refused, Run, Working
from ui.service.telling import in_words, without_paths
from ui.state import Exchange, Settings

if TYPE_CHECKING:
    from ui.service.service import Service
    from vlm.lens.compare import Side


def compare(
    service: Service, exchanges: Items[Exchange], run_id: str, settings: Settings, choice: Choice | None
) -> Iterator[Working | dict]:
    """What is being done, and at last ``{"sides": [left, right]}``.

    Args:
        exchanges: the conversation; the turn of ``run_id`` is asked again about all files so far.
        choice: another model for the right side, loaded for this alone; None: the one in use.

    Raises:
        Refused: the turn is gone, or cannot be asked so.
    """
    number = next((i for i, exchange in enumerate(exchanges) if exchange.run_id == run_id), None)
    run = service.run(run_id) if number is not None else None
    if run is None or service.engine is None:
        raise Refused("That turn is no longer kept. Ask again to compare it.")
    if not settings_changed(exchanges[number].ask.settings, settings) and choice is None:
        raise Refused("Change something above first: both sides would be the same.")
    from ui.service import backend

    try:
        yield from _both(service, exchanges[: number + 1], run, settings, choice)
    except backend.InputError as error:
        raise Refused(without_paths(str(error))) from error


def settings_changed(before: Settings, now: Settings) -> bool:
    names = ("edge", "fps", "max_frames", "nearest")
    return any(getattr(before, name) != getattr(now, name) for name in names)


def _both(
    service: Service, exchanges: Items[Exchange], run: Run, settings: Settings, choice: Choice | None
) -> Iterator[Working | dict]:
    from ui.service import backend

    ask = exchanges[-1].ask
    files = list(dict.fromkeys(file for exchange in exchanges for file in exchange.ask.files))
    first = len(exchanges) == 1 and run.engine is not None and run.engine() is service.engine
    engine = service.engine
    left = yield from _side(
        service, engine, "As it was", ask.text, files, ask.settings, run if first else None
    )
    if choice is not None:
        yield Working(f"loading {choice.model}, {choice.quantize}", True)
        engine = backend.open_engine(choice)
    label = in_short(replace(settings, max_new_tokens=ask.settings.max_new_tokens), choice)
    right = yield from _side(service, engine, label, ask.text, files, settings, None)
    yield {"sides": [left, right]}


def _side(
    service: Service, engine, label: str, question: str, files: list[str], settings: Settings, run: Run | None
):
    """One side's data; ``run`` is the turn where it need not be asked again."""
    from ui.service import backend
    from vlm.chat.sampling import Sampling
    from vlm.lens.compare import ask_side, look_at

    if run is not None:
        return _data(look_at(engine, label, run.trace), run)
    sampling = Sampling(settings.max_new_tokens)
    asking = ask_side(
        engine, label, question, files, backend.options(settings), sampling, open_media=service.open_media
    )
    side = yield from _told(asking, label)
    return _data(side, Run("", side.trace, backend.facts(engine)))


def _told(asking, label: str):
    """Progress in words while a side is asked; returns the side."""
    from ui.service import backend

    while True:
        try:
            event = next(asking)
        except StopIteration as end:
            return end.value
        if isinstance(event, backend.Progress):
            working = in_words(event)
            yield replace(working, text=f"{label}: {working.text}")


def _data(side: Side, run: Run) -> dict:
    from vlm.lens.compare import figures

    maps = [] if side.looks is None else [shades(row) for row in side.looks.maps]
    return {
        "label": side.label,
        "answer": side.trace.answer,
        "words": [word.text for word in side.words],
        "maps": maps,
        "media": draw.grid_data(run)["media"],
        "figures": figures(side),
        "why": side.why,
    }


def in_short(settings: Settings, choice: Choice | None) -> str:
    """What the right side has: "96 px, 2 frames a second, nf4"."""
    parts = [
        f"{settings.edge} px" if settings.edge else "",
        f"{settings.fps:g} frames a second" if settings.fps else "",
        f"at most {settings.max_frames} frames" if settings.max_frames else "",
        "nearest key frames" if settings.nearest else "",
        f"{choice.model}, {choice.quantize}" if choice else "",
    ]
    return ", ".join(part for part in parts if part) or "the model's own limits"
