"""A large picture in the tower: pieces give the same numbers, and the memory they take is bounded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vlm.config import VisionConfig
from vlm.models import attention, tower

# Windows in one block, whole frames in the other, learned positions, a tap, and a hidden layer that would
# outweigh everything else.
CONFIG = VisionConfig(
    depth=2, hidden_size=64, num_heads=4, intermediate_size=4096, out_hidden_size=64, patch_size=4,
    num_position_embeddings=64, deepstack_indexes=(0,), window_size=32, full_attention_blocks=(1,),
)  # fmt: skip
EDGE = 64  # patches: 4,096 in all
ROWS, SCORES = 256, 2**20  # small, so that the rest can be told from them

MEASURE = """
import json, re, sys, torch
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_large_pictures import CONFIG, EDGE, ROWS, SCORES, small_tower
from vlm.models import attention, tower
from vlm.models.devices import peak_bytes

tower.ROWS, attention.SCORES = ROWS, SCORES
model, pixels = small_tower()
with torch.inference_mode():
    for edge in (8, EDGE):  # the first call takes what libraries take
        before = peak_bytes("cpu")
        model(pixels[: edge**2], ((1, edge, edge),), sys.argv[2])
print(peak_bytes("cpu") - before)
"""


def small_tower() -> tuple[tower.VisionTower, torch.Tensor]:
    torch.manual_seed(0)
    return tower.VisionTower(CONFIG), torch.randn(EDGE**2, CONFIG.patch_dim)


@pytest.mark.parametrize("backend", ["sdpa", "math", "eager"])
def test_pieces_give_the_same_numbers(monkeypatch, backend):
    """About 12 sums of up to 4,096 terms, each off by u √(n/2) = 2.7e-6 of its size in another order; errors
    add like a random walk, and the largest of many lies 4 deviations out: 4 × √12 × 2.7e-6 = 4e-5."""
    model, pixels = small_tower()
    grids = ((2, 16, 20), (1, 14, 18))
    pixels = pixels[: sum(t * h * w for t, h, w in grids)]
    with torch.inference_mode():
        whole, taps = model(pixels, grids, backend)
        monkeypatch.setattr(tower, "ROWS", 96)  # no divisor of the number of patches
        monkeypatch.setattr(attention, "SCORES", 5_000)
        pieces, tapped = model(pixels, grids, backend)
    for got, expected in ((pieces, whole), (tapped[0], taps[0])):
        spread = float(expected.max() - expected.min())
        assert float((got - expected).abs().max()) < 4e-5 * spread


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_pieces_of_queries(monkeypatch, causal, masked):
    """Also where queries are fewer than keys, with grouped heads and a mask of one's own."""
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 6, 7, 16), torch.randn(1, 2, 11, 16), torch.randn(1, 2, 11, 16)
    mask = attention.causal_mask(7, 11)[None, None] if masked else None
    with torch.inference_mode():
        whole = attention.attend(q, k, v, causal=causal, mask=mask, backend="eager")
        monkeypatch.setattr(attention, "SCORES", 2 * 6 * 11)  # two queries at once
        for backend in ("eager", "math"):
            pieces = attention.attend(q, k, v, causal=causal, mask=mask, backend=backend)
            torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-5)  # as in test_attention.py


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
@pytest.mark.parametrize("backend", ["sdpa", "eager"])
def test_peak_memory_does_not_grow_with_the_square(backend):
    """All at once: 4 heads × 4,096² float32 scores are 268 MB, and the hidden layer with its activation 134.

    In pieces: the stream, its window order and copy, the normed rows, q, k and v (3), the output and its
    projection, and the fused kernel's own copies of k and v: 12 × 4,096 × 64 float32 = 13 MB. On top one
    piece: four arrays of scores of 2²⁰ (scores, scaled, softmax, result) are 17 MB and three of 256 × 4,096
    hidden values 13 MB. An allocator keeps as much again at most.
    """
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", MEASURE, here, backend], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = 12 * EDGE**2 * CONFIG.hidden_size * 4
    piece = 4 * SCORES * 4 + 3 * ROWS * CONFIG.intermediate_size * 4
    grown = json.loads(done.stdout)
    assert EDGE**2 * CONFIG.hidden_size * 4 < grown < 2 * (rows + piece)
