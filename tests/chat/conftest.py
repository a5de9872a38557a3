"""A chat of the embedded model in float32, and pictures for it."""

from __future__ import annotations

import pytest
from PIL import Image, ImageDraw

from vlm.chat.session import ChatSession


@pytest.fixture
def session(engine):
    return ChatSession(engine)


@pytest.fixture
def picture(tmp_path):
    """Draws a disc of a colour on white and returns the file."""

    def draw(colour: str, size=(224, 224)):
        image = Image.new("RGB", size, "white")
        ImageDraw.Draw(image).ellipse((60, 60, 150, 150), fill=colour)
        path = tmp_path / f"{colour}.png"
        image.save(path)
        return path

    return draw
