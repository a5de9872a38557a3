"""The examples that one click loads and asks: read from examples/examples.json."""

from __future__ import annotations

import json
from collections.abc import Sequence as Items
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "examples"
OFFERED = 6  # at once; the last ones of the list stand in for others


@dataclass(frozen=True)
class Example:
    """Files with a question about them, the picture on its button and a word that a right answer holds.

    ``embedded``: the embedded model answers it right.
    """

    shows: str
    files: tuple[Path, ...]
    poster: Path
    question: str
    answer: str
    embedded: bool


def read_examples(folder: Path = FOLDER) -> tuple[Example, ...]:
    """One example of every kind, in the order in which they are offered."""
    return tuple(
        Example(
            shows=entry["shows"],
            files=tuple(folder / name for name in entry["files"]),
            poster=folder / entry.get("poster", entry["files"][0]),
            question=entry["question"],
            answer=entry["answer"],
            embedded=entry["embedded"],
        )
        for entry in json.loads((folder / "examples.json").read_text())
    )


def offered(examples: Items[Example], embedded: bool) -> list[Example]:
    """What a page offers; the embedded model only what it answers right."""
    return [example for example in examples if example.embedded or not embedded][:OFFERED]
