"""The engine's events, and a model's way here, in the page's words."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ui.service.records import Said, Working

if TYPE_CHECKING:
    from vlm.records import Progress


class Live:
    """What can be told of an answer while it is written."""

    def __init__(self):
        self.began = time.perf_counter()
        self.first = None
        self.text, self.tokens = "", 0

    def said(self, piece: str) -> Said:
        now = time.perf_counter()
        self.first = self.first or now
        self.text += piece
        self.tokens += 1
        stats = {"answer_tokens": self.tokens, "first_token_ms": 1000 * (self.first - self.began)}
        if self.tokens > 1:
            stats["decode_tokens_per_s"] = (self.tokens - 1) / (now - self.first)
        return Said(self.text, stats)


def in_words(event: Progress) -> Working:
    """What goes on, with how far it is."""
    share = event.done / event.total if event.total else None
    text = event.detail
    if event.stage == "prefill":
        text = f"reading {(event.total or 0) - event.done:,} tokens"
    elif event.stage == "media" and text.startswith("reading"):
        text = f"{text}, {event.done:,}/{event.total:,} frames"
    elif event.total and event.total > 1 and str(event.total) not in text:
        text = f"{text} {event.done:,}/{event.total:,}"
    return Working(text, event.stage != "media", share, event.stage)


def fetched_bytes(model: str) -> int:
    """How much of a hub repository is on this machine already; 0 where ``model`` is none."""
    if model.count("/") != 1 or Path(model).exists():
        return 0
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE) / f"models--{model.replace('/', '--')}" / "blobs"
    return sum(path.stat().st_size for path in folder.glob("*") if path.is_file())


def without_paths(text: str) -> str:
    """A message for anybody: of paths on this machine only the last part is left."""
    return re.sub(r"(?<![\w:/.])/(?:[^\s/'\"`,;:()]+/)+", "", text)
