"""One small stream over the embedded model's own config and tokenizer."""

from __future__ import annotations

import pytest

from vlm.train.pack import Packer
from vlm.train.stream import Stream


@pytest.fixture(scope="session")
def packer(tiny):
    return Packer(tiny.tokenizer, tiny.config)


@pytest.fixture(scope="session")
def stream(packer, tiny):
    return Stream(packer, tiny.config.pixels, batch=6, segments=4, seed=5)
