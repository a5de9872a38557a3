"""Where every token of a prompt stands: ``python examples/look_inside.py examples/moving_circle.mp4``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from vlm.families.checkpoint import open_config
from vlm.inputs.media import read_media
from vlm.inputs.patches import to_patches
from vlm.inputs.sequence import build_sequence, user_message


def main(file: str) -> None:
    config, tokenizer = open_config("tiny")  # no weights are needed to count and place tokens
    patches = to_patches(read_media(file, config.pixels), config.pixels)
    sequence = build_sequence([user_message("What is it?", [patches])], [patches], tokenizer, config.tokens)
    print(f"{patches.name}: {patches.width} × {patches.height} px → {patches.tokens} tokens")
    for span in sequence.spans:
        first, last = (
            sequence.positions[:, span.start].tolist(),
            sequence.positions[:, span.stop - 1].tolist(),
        )
        print(f"{span.kind:>8} {span.start:4} … {span.stop - 1:4}   (t, h, w) from {first} to {last}")


if __name__ == "__main__":
    main(sys.argv[1])
