"""What an exported page holds of the lenses, where no model is there to be asked any more."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING

from ui.service.records import Run

if TYPE_CHECKING:
    from ui.service.glass import Glass

FRAMES = 16  # of a clip that boxes are drawn on
PATCHES = 256  # of a frame: beyond, a large model would take minutes over an export


def baked(glass: Glass, run: Run) -> dict:
    """Answers by what was asked: every word through the usual heads, originals under boxes, and where the
    newest picture is small, its cells' words and its patches' looks in the tower's last block."""

    def ask(what: str, **more) -> dict:
        return glass.ask({"run": run.run_id, "what": what, **more})

    found = {
        "open": ask("open"),
        "look": ask("look", first=0),
        "sure": ask("sure", first=0),
        "stages": ask("stages"),
    }
    found["cell"] = {
        f"{number},{cell}": {"stages": stages}
        for number, medium in _newest(found["open"])
        for cell, stages in enumerate(ask("cell", medium=number, cells=medium["tokens"]).get("cells", ()))
    }
    many = {"original": _originals(found["open"]), "patch": _patches(found["open"])}
    for what, requests in many.items():
        answers = {",".join(map(str, key)): ask(what, **more) for key, more in requests}
        found[what] = {key: answer for key, answer in answers.items() if "error" not in answer}
    return found


Requests = Iterator[tuple[tuple[int, ...], dict]]  # under which key, and the rest of the request


def _originals(opened: dict) -> Requests:
    for medium, regions in enumerate(opened.get("regions", ())):
        frames = len(opened["media"][medium]["frames"]) if regions else 0
        for frame in range(min(frames, FRAMES)):
            longest = {"longest": 800} if frames > 1 else {}
            yield (medium, frame), {"medium": medium, "frame": frame, **longest}


def _patches(opened: dict) -> Requests:
    for number, medium in _newest(opened):
        _, *cells = medium["cells"]
        rows, columns = (count * medium["merge"] for count in cells)
        if rows * columns <= PATCHES:
            for row, column in product(range(rows), range(columns)):
                where = {"medium": number, "frame": 0, "row": row, "column": column}
                block = opened["blocks"] - 1
                yield (*where.values(), block), where | {"block": block}


def _newest(opened: dict) -> list[tuple[int, dict]]:
    return list(enumerate(opened.get("media", ())))[-1:]
