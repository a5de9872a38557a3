"""A turn's way through the model: ``python examples/anatomy.py examples/shapes.png``.

Prints every stage with its parameters and memory, what flows out of it, and what the families do differently.
Writes where the patch in the middle looks in the vision tower's last block.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from vlm.chat.session import ChatSession
from vlm.engines import open_engine
from vlm.families.checkpoint import open_config
from vlm.lens.architecture import differences, stages
from vlm.lens.export import heat_picture
from vlm.lens.tower import TowerView

FAMILIES = ("qwen2-vl-7b", "qwen2.5-vl-7b", "qwen3-vl-8b", "tiny")


def main(file: str, out: str = "patch.png") -> None:
    engine = open_engine("tiny")
    *_, trace = ChatSession(engine).ask("What is it?", [file])
    for stage in stages(engine.model, trace.sequence):
        print(
            f"{stage.name:10} {stage.parameters:>10,} parameters {stage.nbytes:>11,} bytes  {stage.meaning}"
        )
        for edge in stage.out:
            print(f"  ↓ {' × '.join(map(str, edge.shape)):18} {edge.name} ({edge.letters}): {edge.meaning}")
    for aspect, values, differ in differences({name: open_config(name)[0] for name in FAMILIES}):
        print(f"{'≠' if differ else ' '} {aspect}: {'; '.join(values.values())}")

    [picture] = trace.sequence.media
    _, rows, columns = picture.grid_thw
    view = TowerView(engine.model, engine.config.pixels, picture)
    look = view.look(rows // 2, columns // 2, engine.config.vision.depth - 1)
    heat_picture(picture, look.weights).save(out)
    print(f"Where patch ({rows // 2}, {columns // 2}) looks: {out}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
