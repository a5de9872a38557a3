"""A picture large and small: ``python examples/compare_settings.py examples/shapes.png "Describe it."``.

Prints both answers with their figures side by side, and writes them as CSV, with a picture of where the first
word of each looked and all maps as NPZ.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from vlm.engines import open_engine
from vlm.inputs.media import MediaOptions
from vlm.lens.compare import ask_side, figures
from vlm.lens.export import sides_picture, write_sides_csv, write_sides_npz

SETTINGS = {"as it is": MediaOptions(), "at most 96 × 96": MediaOptions(max_pixels=96 * 96)}


def main(file: str, question: str, folder: str = "sides") -> None:
    engine, out, sides = open_engine("tiny"), Path(folder), []
    out.mkdir(exist_ok=True)
    for label, options in SETTINGS.items():
        *_, side = ask_side(engine, label, question, [file], options)
        sides.append(side)
        print(f"{label}: {side.trace.answer}")
    left, right = map(figures, sides)
    for name in left:
        print(f"{name:22} {left[name]!s:>12} {right[name]!s:>12}")
    sides_picture(sides, [0, 0]).save(out / "sides.png")
    write_sides_npz(out / "sides.npz", sides)
    with (out / "sides.csv").open("w", newline="") as table:
        write_sides_csv(table, sides)
    print(f"sides.png, sides.csv and sides.npz are in {out}/")


if __name__ == "__main__":
    main(*sys.argv[1:4])
