"""One question under two settings: both sides as the Compare panel shows them."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from collections.abc import Sequence as Items
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from ui import draw
from ui.service.glass import shades
from ui.service.records import Choice, Refused, Run, Working
from ui.service.telling import in_words, without_paths
from ui.state import Exchange, Settings

if TYPE_CHECKING:
    from ui.service.service import Service
    from vlm.chat.remote import AnyEngine
    from vlm.lens.compare import Side


def compare(
    service: Service, exchanges: Items[Exchange], run_id: str, settings: Settings, choice: Choice | None
) -> Iterator[Working | dict]:
    """What is being done, and at last what the panel shows, see `shown`; the turn's run keeps both sides.

    Args:
        exchanges: the conversation; the turn of ``run_id`` is asked again after what was said before it.
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

    last, engine = exchanges[-1], service.engine
    first = len(exchanges) == 1 and run.engine is not None and run.engine() is engine
    left = yield from _side(service, engine, "As it was", exchanges, None, run if first else None)
    if choice is not None:
        yield Working(f"loading {choice.model}, {choice.quantize}", True)
        engine = backend.open_engine(choice)
    settings = replace(settings, max_new_tokens=last.ask.settings.max_new_tokens)
    right = yield from _side(service, engine, in_short(settings, choice), exchanges, settings, None)
    run.sides[:] = left, right
    yield shown(run.sides)


def _side(
    service: Service,
    engine: AnyEngine,
    label: str,
    exchanges: Items[Exchange],
    settings: Settings | None,
    run: Run | None,
) -> Generator[Working, None, Side]:
    """Progress in words; returns the side.

    Args:
        settings: of all turns; None leaves each its own. run: the turn, where it need not be asked again.
    """
    from ui.service import backend
    from vlm.chat.sampling import Sampling
    from vlm.lens.compare import ask_side, look_at, told_again

    if run is not None:
        return look_at(engine, label, run.trace)
    *earlier, last = exchanges
    how = {"open_media": service.open_media}
    told = []
    for exchange in earlier:
        ask, options = exchange.ask, backend.options(settings or exchange.ask.settings)
        if ask.files:
            yield Working(f"{label}: reading {', '.join(Path(file).name for file in ask.files)}", True)
        told.append(told_again(engine, ask.text, ask.files, exchange.answer, options, **how))
    settings = settings or last.ask.settings
    sampling, options = Sampling(settings.max_new_tokens), backend.options(settings)
    asking = ask_side(engine, label, last.ask.text, last.ask.files, options, sampling, history=told, **how)
    for event in asking:
        if isinstance(event, backend.Progress):
            working = in_words(event)
            yield replace(working, text=f"{label}: {working.text}")
    return event


def shown(sides: Items[Side]) -> dict:
    """What the panel draws of two sides, with the file of their figures."""
    from vlm.lens.export import write_sides_csv

    table = StringIO(newline="")
    write_sides_csv(table, sides)
    return {"sides": [_data(side) for side in sides], "csv": table.getvalue()}


def _data(side: Side) -> dict:
    from vlm.lens.compare import figures

    maps = [] if side.looks is None else [shades(row) for row in side.looks.maps]
    return {
        "label": side.label,
        "answer": side.trace.answer,
        "words": [word.text for word in side.words],
        "maps": maps,
        "media": draw.media_data(side.trace.sequence),
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
