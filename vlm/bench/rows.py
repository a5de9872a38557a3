"""One measurement and how it is shown."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from statistics import median

import torch

from vlm.models.devices import free_bytes


@dataclass(frozen=True)
class Row:
    """``ours`` and ``reference`` are medians in ``unit``; ``ratio`` above 1 means that ours is better.

    ``spread`` is (least, most) of ours; ``note`` says what was compared, in words.
    """

    name: str
    ours: float
    reference: float
    unit: str
    ratio: float
    spread: tuple[float, float]
    note: str = ""


def faster(name: str, ours: list[float], reference: list[float], unit: str = "ms", note: str = "") -> Row:
    """A row of times, shorter being better."""
    mine, theirs = median(ours), median(reference)
    return Row(name, mine, theirs, unit, theirs / mine, (min(ours), max(ours)), note)


def machine(device: str) -> dict:
    """What the figures were measured on."""
    facts = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),  # other work on the machine makes all times longer
        "free_gib": round(free_bytes(device) / 2**30, 1),
        "device": device,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    if device.startswith("cuda"):
        facts["gpu"] = torch.cuda.get_device_name(device)
    return facts


def as_json(rows: list[Row], device: str) -> dict:
    return {"machine": machine(device), "rows": [asdict(row) for row in rows]}


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = ["| row | ours | reference | ratio | spread of ours | what |", "|---|---:|---:|---:|---|---|"]
    lines += [
        f"| {row.name} | {row.ours:,.1f} {row.unit} | {row.reference:,.1f} {row.unit} | {row.ratio:.1f} × | "
        f"{row.spread[0]:,.1f}–{row.spread[1]:,.1f} | {row.note} |"
        for row in rows
    ]
    return "\n".join(lines)
