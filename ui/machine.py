"""What this machine can hold: which official model is the next better one here."""

from __future__ import annotations

import os
from dataclasses import dataclass

HUB = {
    "qwen3-vl-2b": "Qwen/Qwen3-VL-2B-Instruct",
    "qwen3-vl-4b": "Qwen/Qwen3-VL-4B-Instruct",
    "qwen3-vl-8b": "Qwen/Qwen3-VL-8B-Instruct",
    "qwen3-vl-32b": "Qwen/Qwen3-VL-32B-Instruct",
    "qwen3-vl-30b-a3b": "Qwen/Qwen3-VL-30B-A3B-Instruct",
    "qwen3-vl-235b-a22b": "Qwen/Qwen3-VL-235B-A22B-Instruct",
    "qwen2.5-vl-3b": "Qwen/Qwen2.5-VL-3B-Instruct",
    "qwen2.5-vl-7b": "Qwen/Qwen2.5-VL-7B-Instruct",
    "qwen2.5-vl-32b": "Qwen/Qwen2.5-VL-32B-Instruct",
    "qwen2.5-vl-72b": "Qwen/Qwen2.5-VL-72B-Instruct",
    "qwen2-vl-2b": "Qwen/Qwen2-VL-2B-Instruct",
    "qwen2-vl-7b": "Qwen/Qwen2-VL-7B-Instruct",
    "qwen2-vl-72b": "Qwen/Qwen2-VL-72B-Instruct",
}
ROOM = 1.25  # of the weights' own bytes: activations, cache and the reading of the files
PATIENT = 5e9  # parameters: without a GPU, larger ones take seconds a token


@dataclass(frozen=True)
class Offer:
    """A model that fits."""

    hub: str
    words: str


def next_better(rows: list[dict], parameters: int, room: int, gpu: bool) -> Offer | None:
    """The smallest model of the newest family above ``parameters`` that fits.

    Args:
        rows: of the service's ``offers``. room: bytes that are free, on a GPU if ``gpu``.
    """
    for row in (row for row in rows if row["name"].startswith("qwen3")):
        if row["parameters"] <= parameters or (not gpu and row["parameters"] > PATIENT):
            continue
        for form, words in (("bf16_bytes", "bfloat16"), ("nf4_bytes", "4 bits")):
            if row[form] * ROOM < room:
                return Offer(HUB[row["name"]], f"{row[form] / 2**30:.1f} GiB in {words}")
    return None


def describe(room: int) -> str:
    """This machine in a few words; ``room`` are its free bytes."""
    return f"{os.cpu_count()} CPU cores, {room / 2**30:,.1f} GiB of memory free"
