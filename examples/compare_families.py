"""What one file costs in every family: ``python examples/compare_families.py examples/circle.png``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from vlm.families.checkpoint import open_config
from vlm.inputs.media import open_media


def main(file: str) -> None:
    medium = open_media(file)  # its header alone: nothing is decoded
    for name in ("tiny", "qwen2-vl-7b", "qwen2.5-vl-7b", "qwen3-vl-8b"):
        config, _ = open_config(name)
        patches = medium.plan(config.pixels)
        t, rows, columns = patches.cells_thw
        print(f"{name:14} {t} × {rows} × {columns} cells = {patches.tokens:,} tokens")


if __name__ == "__main__":
    main(sys.argv[1])
