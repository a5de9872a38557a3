"""A bound that Gradio's reader of uploads lacks."""

from __future__ import annotations

from gradio.route_utils import GradioMultiPartParser
from starlette.formparsers import MultiPartException

LONGEST = 2**16  # bytes


def bound_form_fields() -> None:
    """Let Gradio refuse an upload with a long field that is no file: it would collect it in memory."""
    collect = GradioMultiPartParser.on_part_data

    def bounded(self: GradioMultiPartParser, data: bytes, start: int, end: int) -> None:
        part = self._current_part
        if part.file is None and too_long(len(part.data) + end - start):
            raise MultiPartException("A field of the form is too long.")
        collect(self, data, start, end)

    GradioMultiPartParser.on_part_data = bounded


def too_long(size: int) -> bool:
    return size > LONGEST
