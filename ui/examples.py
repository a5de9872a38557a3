"""The examples that one click loads and asks: read from examples/examples.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "examples"


@dataclass(frozen=True)
class Example:
    """Files with a question about them, the picture on its button and a word that a right answer holds."""

    shows: str
    files: tuple[Path, ...]
    poster: Path
    question: str
    answer: str


def read_examples(folder: Path = FOLDER) -> tuple[Example, ...]:
    """The examples that the embedded model answers right."""
    return tuple(
        Example(
            shows=entry["shows"],
            files=tuple(folder / name for name in entry["files"]),
            poster=folder / entry.get("poster", entry["files"][0]),
            question=entry["question"],
            answer=entry["answer"],
        )
        for entry in json.loads((folder / "examples.json").read_text())
    )
