"""The files of a turn's media, and what these would cost under other families, worked out once a medium."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Sequence as Items
from pathlib import Path
from typing import TYPE_CHECKING

from ui.state import Ask

if TYPE_CHECKING:
    from vlm.records import Patches, Trace


def files_of(media: Items[Patches], asks: Items[Ask]) -> tuple[str | None, ...]:
    """The file of each medium: those of ``asks`` in order, of which the oldest may have been let go."""
    files = [file for ask in asks for file in ask.files][-len(media) :]
    files = [None] * (len(media) - len(files)) + files
    return tuple(
        file if file and Path(file).name == medium.name else None
        for file, medium in zip(files, media, strict=False)
    )


class Elsewhere:
    """Keeps the rows of ``most`` media, by their digests."""

    def __init__(self, most: int):
        self._most = most
        self._rows: OrderedDict[str, list[dict]] = OrderedDict()

    def rows(self, trace: Trace, ask: Ask, open_media: Callable) -> tuple[list[dict] | None, ...]:
        """One entry a medium of the conversation; the files at hand are those of ``ask``, the last ones."""
        from ui.service import backend

        media = trace.sequence.media
        for file, medium in zip(reversed(ask.files), reversed(media), strict=False):
            if medium.digest not in self._rows:
                try:
                    self._rows[medium.digest] = backend.elsewhere(file, ask.settings, open_media)
                except (backend.InputError, OSError):
                    continue  # too long and thin for another family, or cleaned away
        while len(self._rows) > self._most:
            self._rows.popitem(last=False)
        return tuple(self._rows.get(medium.digest) for medium in media)
