"""Ask a model about a picture or clip: ``python examples/ask.py examples/shapes.png "How many objects?"``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import vlm
from vlm.chat.session import ChatSession, Engine
from vlm.records import Step


def main(file: str, question: str) -> None:
    checkpoint = vlm.load("tiny")
    chat = ChatSession(Engine(checkpoint.model, checkpoint.tokenizer, checkpoint.name))
    for event in chat.ask(question, [file]):
        if isinstance(event, Step):
            print(event.text, end="", flush=True)
    print()


if __name__ == "__main__":
    main(*sys.argv[1:3])
