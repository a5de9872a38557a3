"""The embedded model in float32, so that two ways to the same figure can be compared exactly."""

from __future__ import annotations

import pytest
import torch
from PIL import Image, ImageDraw

from vlm.chat.session import ChatSession, Engine
from vlm.families.checkpoint import open_checkpoint


@pytest.fixture(scope="session")
def exact():
    return open_checkpoint("tiny", device="cpu", dtype=torch.float32)


@pytest.fixture
def engine(exact):
    return Engine(exact.model, exact.tokenizer, "tiny")


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
