"""The heavy side of the door: everything that needs torch and `vlm`."""

from __future__ import annotations

import logging
import math
import re
import tempfile
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Items
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from PIL import Image

from ui.machine import HUB
from ui.service import zero
from ui.service.records import Choice, Cost, ModelFacts, Reading
from ui.state import Ask, Settings
from vlm import engines
from vlm.chat.sampling import Sampling
from vlm.chat.session import AnyEngine, BudgetError, ChatSession, Event, Plan
from vlm.families.checkpoint import meta_model, open_config
from vlm.families.naming import TINY, is_preset, presets
from vlm.inputs.media import MediaOptions, Medium, open_media
from vlm.inputs.sandbox import AVAILABLE, Limits, Sandbox
from vlm.models.devices import free_bytes
from vlm.models.rope import mrope_axes
from vlm.records import InputError, Patches, Progress, Step, Trace
from vlm.report import inspect_media, model_row

__all__ = ["BudgetError", "ChatSession", "InputError", "Progress", "Step", "Trace", "free_bytes"]

log = logging.getLogger("glassbox")
OpenMedia = Callable[[str | Path], Medium]

# One member of each family, to say what a picture would cost elsewhere.
OTHERS = {"Qwen2-VL": "qwen2-vl-7b", "Qwen2.5-VL": "qwen2.5-vl-7b", "Qwen3-VL": "qwen3-vl-8b"}


def reader(reading: Reading) -> Sandbox | None:
    """What reads the files of strangers, starting up; None where this system has no such thing."""
    if not AVAILABLE:
        log.warning("files are read in this very process: the sandbox needs Linux")
        return None
    seconds = {"open_seconds": min(20, reading.seconds), "read_seconds": reading.seconds}
    sandbox = Sandbox(Limits(reading.memory_bytes, **seconds, cpu_seconds=2 * reading.seconds))
    sandbox.start()
    return sandbox


def open_engine(choice: Choice) -> AnyEngine:
    """Load a model, or connect to a server that has. Raises InputError with a sentence for the person."""
    loading = {"device": choice.device, "attention": choice.attention, "quantize": choice.quantize}
    far = None if choice.engine == "local" else choice.engine
    preset = is_preset(choice.model) and not far  # a config alone: its weights are on the hub
    model = HUB[choice.model] if preset else choice.model
    engine = engines.open_engine(model, engine=far, config=choice.config, **loading)
    if zero.HERE:
        zero.offer(engine)  # the GPU is only there during a turn
    elif not far:
        engine.warm_up()
        _learn_pace(engine)
    return engine


def _learn_pace(engine: AnyEngine) -> None:
    """Answer once about a blank picture, so that the first person is told how long theirs will take."""
    with tempfile.TemporaryDirectory() as folder:
        blank = Path(folder) / "blank.png"
        Image.new("RGB", (256, 256), "grey").save(blank)
        for _ in ChatSession(engine).ask("What is this?", [blank], Sampling(max_new_tokens=2)):
            pass
    engine.free_memory()


def facts(engine: AnyEngine) -> ModelFacts:
    """What the page says of a model; a far one keeps some of it to itself."""
    config, told = engine.config, engine.facts()
    vision, decoder, pixels = config.vision, config.decoder, config.pixels
    window = vision.window_size and vision.window_size // pixels.factor
    return ModelFacts(
        name=engine.name,
        family=config.family,
        parameters=sum(w.numel() for w in engine.model.parameters()) if hasattr(engine, "model") else 0,
        device=told["device"],
        dtype=told["dtype"] or "",
        attention=told["attention"] or "",
        quantize=told["quantize"] or "none",
        quantize_reason=told["quantize_reason"] or "",
        weights_bytes=told["weights_bytes"] or 0,
        context_length=decoder.context_length,
        axes="".join("thw"[axis] for axis in mrope_axes(decoder.mrope_section, decoder.mrope_interleaved)),
        cell=pixels.factor,
        largest_edge=math.isqrt(pixels.image_max_pixels) // pixels.factor * pixels.factor,
        fps=pixels.fps,
        max_frames=pixels.max_frames,
        window_cells=window,
        full_attention=vision.full_attention_blocks if window else (),
        tower_blocks=vision.depth,
        knows=from_card("What it knows") if engine.name == "tiny" else "",
        does_not_know=from_card("What it does not know") if engine.name == "tiny" else "",
    )


def from_card(heading: str) -> str:
    """The first paragraph, or point of a list, under a heading of the embedded model's card."""
    _, _, rest = (TINY / "README.md").read_text().partition(f"## {heading}\n")
    section = rest.partition("\n## ")[0].strip()
    first = re.split(r"\n\s*\n|\n[-*] ", section.removeprefix("- "))[0]
    return " ".join(re.sub(r"[*`]", "", first).split())


def options(settings: Settings) -> MediaOptions:
    return MediaOptions(
        fps=settings.fps, max_frames=settings.max_frames, max_pixels=settings.edge and settings.edge**2,
        approximate=settings.nearest,
    )  # fmt: skip


def events(chat: ChatSession, ask: Ask, index: int | None, stopped: Callable[[], bool]) -> Iterator[Event]:
    """Run a turn; ``index`` is the turn of ``chat`` that is asked again in other words."""
    if zero.HERE:
        return zero.events(chat, ask, index, stopped, _events)
    return _events(chat, ask, index, stopped)


def _events(chat: ChatSession, ask: Ask, index: int | None, stopped: Callable[[], bool]) -> Iterator[Event]:
    settings = ask.settings
    sampling = Sampling(settings.max_new_tokens, settings.temperature, lookup=settings.lookup)
    how = {"sampling": sampling, "stopped": stopped, "choice": ask.choice}
    if index is None:
        yield from chat.ask(ask.text, ask.files, options=options(ask.settings), **how)
    else:
        yield from chat.edit(index, ask.text, **how)


def cost(chat: ChatSession, text: str, files: Items[str], settings: Settings) -> Cost:
    """What a question would cost. Of files that cannot be used it holds the error that reading would give."""
    media, plan = _plan(chat, text, files, settings)
    vision = sum(medium.get("tokens", 0) for medium in media)
    if plan is None:
        return Cost(tuple(media), vision, vision, vision, chat.engine.config.decoder.context_length)
    return Cost(
        media=tuple(media),
        vision_tokens=vision,
        new_tokens=plan.new_tokens,
        total_tokens=len(plan.sequence),
        context=plan.context_length,
        seconds=plan.seconds,
        problem=plan.problem,
        choices=tuple(choice.text for choice in plan.choices),
    )


def _plan(
    chat: ChatSession, text: str, files: Items[str], settings: Settings
) -> tuple[list[dict], Plan | None]:
    """One entry a file, and the plan without those that cannot be used; None where the text cannot be."""
    usable, entries = [], []
    for file in files:
        try:
            medium = chat.open_media(file).plan(chat.engine.config.pixels, options(settings))
        except InputError as error:
            entries.append({"name": Path(file).name, "error": str(error)})
            continue
        usable.append(file)
        entries.append(_entry(medium))
    try:
        return entries, chat.plan(text, usable, options(settings))
    except InputError:
        return entries, None


def _entry(medium: Patches) -> dict:
    return {
        "name": medium.name,
        "kind": medium.kind,
        "original": [medium.width, medium.height],
        "seen": [medium.resized.shape[2], medium.resized.shape[1]],
        "cells": list(medium.cells_thw),
        "tokens": medium.tokens,
        "times": [round(second, 2) for second in medium.frame_timestamps],
    }


def elsewhere(file: str, settings: Settings, open_media: OpenMedia = open_media) -> list[dict]:
    """What one file would cost under the families' usual configs."""
    rows, medium = [], open_media(file)
    for family, preset in OTHERS.items():
        config, _ = open_config(preset)
        plan = medium.plan(config.pixels, replace(options(settings), max_pixels=None))
        seen = [plan.resized.shape[2], plan.resized.shape[1]]
        rows.append({"family": family, "seen": seen, "cells": list(plan.cells_thw), "tokens": plan.tokens})
    return rows


def known_models() -> list[str]:
    """The models whose config is part of this repository."""
    return ["tiny", *presets()]


def inspect(files: Items[str], model: str, prompt: str, open_media: OpenMedia = open_media) -> dict:
    config, tokenizer = open_config(model)
    paths = [Path(file) for file in files]
    return inspect_media(paths, model, config, tokenizer, prompt, MediaOptions(), open_media)[0]


@lru_cache  # a second of work, and every page asks
def catalogue() -> list[dict]:
    """Every official size with its memory, smallest first."""
    rows = [model_row(name, meta_model(name)[0]) for name in presets()]
    return sorted(rows, key=lambda row: row["parameters"])
