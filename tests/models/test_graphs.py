"""The step that a CUDA graph captures, run on a CPU: the same logits and the same keys."""

from __future__ import annotations

import pytest
import torch

from vlm.families.checkpoint import open_checkpoint
from vlm.models import graphs
from vlm.models.graphs import Graphs, StaticStep


def _filled(model, count):
    cache = model.new_cache(count + 6)
    cache._store.fill_(torch.nan)  # what nobody has written must not matter
    with torch.inference_mode():
        positions = torch.arange(count).expand(3, 1, count)
        model.decoder(
            model.decoder.embed_tokens(torch.arange(300, 300 + count)[None]), positions, cache=cache
        )
    return cache


@pytest.fixture(scope="module")
def model():
    return open_checkpoint("tiny", device="cpu", dtype="float32").model


@torch.inference_mode()
def test_a_fixed_step_is_the_same_step(model):
    plain, fixed = _filled(model, 9), _filled(model, 9)
    step = StaticStep(model.decoder, fixed)
    for index in range(4):
        expected = model.step(400 + index, 9 + index, plain)
        got = step(400 + index, 9 + index, fixed.length)
        fixed.advance(1)
        # Sums of a few hundred float32 terms in four layers, with and without masked zeros among them.
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)
    assert fixed.length == plain.length == 13
    torch.testing.assert_close(fixed._store[..., :13, :], plain._store[..., :13, :], rtol=0, atol=1e-5)


@torch.inference_mode()
def test_a_cache_that_grew_is_captured_again_and_failure_is_survived(model, monkeypatch):
    captured = []
    monkeypatch.setattr(StaticStep, "capture", lambda self: captured.append(self.capacity))
    kept, cache, plain = Graphs(), _filled(model, 9), _filled(model, 9)
    for index in range(8):  # room for six more
        got = kept.step(model.decoder, 400 + index, 9 + index, cache)
        torch.testing.assert_close(got, model.step(400 + index, 9 + index, plain), rtol=0, atol=1e-4)
    assert captured == [15, 15 + 256]
    monkeypatch.setattr(graphs.StaticStep, "capture", lambda self: 1 / 0)
    broken = Graphs()
    assert broken.step(model.decoder, 1, 1, _filled(model, 3)) is None
    assert broken.step(model.decoder, 1, 1, _filled(model, 3)) is None
