"""One measurement and how it is shown."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median

import torch

from vlm.models.devices import free_bytes


@dataclass(frozen=True)
class Row:
    """``ours`` and ``reference`` are medians in ``unit``; ``ratio`` above 1 means that ours is better.

    ``limit`` is the least that this machine could take, by its own speed measured in the same run, and
    ``of_limit`` how much of that speed ours reaches (1: all). ``spread`` is (least, most) of ours; ``note``
    says what was compared, in words. None: there is nothing to compare with.
    """

    name: str
    ours: float
    reference: float | None
    unit: str
    ratio: float | None
    limit: float | None
    of_limit: float | None
    spread: tuple[float, float]
    note: str = ""


def faster(
    name: str,
    ours: list[float],
    reference: list[float] | None = None,
    unit: str = "ms",
    note: str = "",
    limit: float | None = None,
) -> Row:
    """A row of times or sizes, less being better."""
    mine, theirs = median(ours), median(reference) if reference else None
    ratio = theirs / mine if theirs is not None else None
    return Row(
        name, mine, theirs, unit, ratio, limit, limit / mine if limit else None, (min(ours), max(ours)), note
    )


def alternate(
    runs: int, *sides: Callable[[], object], clock: Callable[[], float] | None = None
) -> list[list[float]]:
    """Milliseconds of each side, one after the other in every run; the first run of each is not counted."""
    clock = clock or the_clock()[1]
    times: list[list[float]] = [[] for _ in sides]
    for run in range(runs + 1):
        for side, own in zip(sides, times, strict=True):
            start = clock()
            side()
            if run:
                own.append(1000 * (clock() - start))
    return times


def the_clock() -> tuple[str, Callable[[], float]]:
    """Wall time; with one thread the processor's time, which other work on the machine hardly changes."""
    if torch.get_num_threads() == 1:
        return "processor time", time.process_time
    return "wall time", time.perf_counter


def machine(device: str) -> dict:
    """What the figures were measured on."""
    facts = {
        "processor": platform.processor() or platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "clock": the_clock()[0],
        "load": round(os.getloadavg()[0], 1),  # other work on the machine makes all times longer
        "free_gib": round(free_bytes(device) / 2**30, 1),
        "device": device,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    if device.startswith("cuda"):
        facts["gpu"] = torch.cuda.get_device_name(device)
    return facts


def as_json(rows: list[Row], facts: dict) -> dict:
    return {"machine": facts, "rows": [asdict(row) for row in rows]}


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = [
        "| row | ours | reference | ratio | at most | limit | of limit | spread of ours | what |",
        "|---|---:|---:|---:|---:|---:|---:|---|---|",
    ]
    for row in rows:
        cells = (
            row.name,
            f"{row.ours:,.1f} {row.unit}",
            "" if row.reference is None else f"{row.reference:,.1f} {row.unit}",
            "" if row.ratio is None else f"{row.ratio:.2f} ×",
            "" if None in (row.limit, row.reference) else f"{row.reference / row.limit:.2f} ×",
            "" if row.limit is None else f"{row.limit:,.1f} {row.unit}",
            "" if row.of_limit is None else f"{row.of_limit:.0%}",
            f"{row.spread[0]:,.1f}–{row.spread[1]:,.1f}",
            row.note,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
