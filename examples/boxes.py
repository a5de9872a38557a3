"""Boxes and points, drawn: ``python examples/boxes.py examples/shapes.png "Box of the heart"``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from vlm.chat.session import ChatSession
from vlm.engines import open_engine
from vlm.inputs.media import open_media
from vlm.lens.export import region_picture
from vlm.lens.original import original_picture
from vlm.lens.regions import find_regions
from vlm.lens.words import raw_answer


def main(file: str, question: str, out: str = "boxes.png") -> None:
    engine = open_engine("tiny")
    *_, trace = ChatSession(engine).ask(question, [file])
    raw, [picture] = raw_answer(trace.sequence, engine.tokenizer), trace.sequence.media
    regions = find_regions(raw, picture, engine.config.box_scale)
    print(raw)
    for region in regions:
        print(region.kind, region.label, [round(number) for number in region.numbers], "px")
    region_picture(picture, regions, original=original_picture(open_media(file), picture)).save(out)


if __name__ == "__main__":
    main(*sys.argv[1:4])
