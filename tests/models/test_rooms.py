"""Small parts on their own: cache, norms, rotary axes, grids, positions in packed pictures."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from vlm.config import DecoderConfig, VisionConfig
from vlm.models.cache import KVCache
from vlm.models.decoder import DecoderLayer
from vlm.models.grid import (
    frame_segments,
    interpolate_table,
    merge_blocks,
    patch_coordinates,
    window_order,
)
from vlm.models.layers import RMSNorm
from vlm.models.rope import inverse_frequencies, mrope_axes, mrope_table, rotate
from vlm.models.tower import VisionTower

CONFIG = DecoderConfig(
    8,
    2,
    2,
    1,
    4,
    8,
    16,
    1e-6,
    1e4,
    (1, 1, 0),
    False,
    True,
    False,
    tie_word_embeddings=True,
    context_length=64,
)


def _chunk(count, value=0.0):
    return torch.full((1, 1, count, 4), value)


def test_cache_grows_and_keeps_what_it_holds():
    cache = KVCache(CONFIG, capacity=2)
    for number in range(5):
        for layer in range(2):
            keys, values = cache.extend(layer, _chunk(1, number), _chunk(1, -number))
        cache.advance(1)
    assert cache.length == 5 and cache.capacity >= 5
    assert keys[0, 0, :, 0].tolist() == [0, 1, 2, 3, 4]
    assert values[0, 0, :, 0].tolist() == [0, -1, -2, -3, -4]


def test_crop_forgets_the_tail():
    cache = KVCache(CONFIG)
    cache.extend(0, _chunk(4, 1.0), _chunk(4))
    cache.advance(4)
    cache.crop(2)
    keys, _ = cache.extend(0, _chunk(1, 9.0), _chunk(1))
    assert keys[0, 0, :, 0].tolist() == [1, 1, 9]
    for length in (-1, 3):
        with pytest.raises(ValueError, match="cannot crop"):
            cache.crop(length)


@pytest.mark.parametrize("size", [1.0, 1e3, 3e4])
def test_norm_in_float16_does_not_overflow(size):
    """Hidden states of the big models reach thousands; their squares are no float16 (above 65504)."""
    x = torch.full((1, 64), size).half()
    x[0, ::2] *= -1
    out = RMSNorm(64).half()(x)
    assert out.dtype == torch.float16 and out.isfinite().all()
    torch.testing.assert_close(out.abs().float(), torch.ones(1, 64), rtol=0, atol=1e-3)  # float16: 2^-11


def test_norm_in_half_precision_would_fail():
    """The mistake that the test above is there for."""
    x = torch.full((1, 64), 1e3).half()
    assert not x.pow(2).isfinite().all()


def test_decoder_layer_in_float16_at_real_width():
    """Qwen3-VL-2B's width, with the massive activations (thousands in two channels) of trained models."""
    torch.manual_seed(0)
    config = replace(CONFIG, hidden_size=2048, num_heads=16, num_kv_heads=8, head_dim=128, num_layers=1)
    layer = DecoderLayer(replace(config, intermediate_size=6144, mrope_section=(24, 20, 20), qk_norm=True))
    x = torch.randn(1, 6, 2048)
    x[..., :2] = 8_000.0
    places = torch.arange(6).expand(3, 1, -1)
    rope = mrope_table(places, inverse_frequencies(128, 5e6), mrope_axes((24, 20, 20), True))
    with torch.no_grad():
        full = layer(x, rope, 0, None, None, "sdpa")
        half = layer.half()(x.half(), rope, 0, None, None, "sdpa")
    assert half.isfinite().all()
    # float16 keeps 2^-11 = 5e-4 of a value; 20 products behind each other add as a random walk
    assert (half.float() - full).abs().max() < 4 * 20**0.5 * 2**-11 * full.abs().max()


def test_axes_of_the_rotary_frequencies():
    assert mrope_axes((2, 3, 3), False).tolist() == [0, 0, 1, 1, 1, 2, 2, 2]
    assert mrope_axes((4, 2, 2), True).tolist() == [0, 1, 2, 0, 1, 2, 0, 0]
    official = mrope_axes((24, 20, 20), True)
    assert official.bincount().tolist() == [24, 20, 20] and official[60:].tolist() == [0] * 4


def test_far_positions_stay_apart():
    """bfloat16 cannot tell 1000 from 1001; the angles must."""
    frequencies = inverse_frequencies(16, 1e6)
    cos, sin = mrope_table(torch.tensor([[[1000, 1001]]] * 3), frequencies, mrope_axes((4, 2, 2), True))
    assert (cos[0, 0, 0] - cos[0, 0, 1]).abs().max() > 0.1 and cos.dtype == sin.dtype == torch.float32


def test_rotation_keeps_lengths_and_knows_only_distances():
    torch.manual_seed(0)
    axes, frequencies = mrope_axes((4, 2, 2), True), inverse_frequencies(16, 1e4)
    q, k = torch.randn(2, 1, 1, 1, 16)

    def score(at, then):
        tables = (mrope_table(torch.full((3, 1, 1), place), frequencies, axes) for place in (at, then))
        return (rotate(q, *next(tables)) * rotate(k, *next(tables))).sum()

    torch.testing.assert_close(score(7, 3), score(104, 100), rtol=1e-4, atol=1e-4)  # angles of 104 in float32
    assert (score(7, 3) - score(7, 0)).abs() > 1e-2


def test_merge_blocks():
    raster = torch.arange(4 * 6).view(4, 6)
    assert merge_blocks(raster, 2)[:8].tolist() == [0, 1, 6, 7, 2, 3, 8, 9]


def test_every_frame_begins_at_the_corner():
    coordinates = patch_coordinates(((2, 2, 4), (1, 4, 2)), 2)
    assert coordinates[[0, 1, 2, 4]].tolist() == [[0, 0], [0, 1], [1, 0], [0, 2]]
    assert torch.equal(coordinates[:8], coordinates[8:16]) and coordinates[16].tolist() == [0, 0]


def test_corners_of_the_table_land_on_corners():
    table = torch.arange(9.0)[:, None]
    found = interpolate_table(table, ((1, 4, 6),), 2)[:, 0]
    blocks = merge_blocks(torch.arange(24).view(4, 6), 2)
    at = {int(place): float(value) for place, value in zip(blocks, found, strict=True)}
    assert [at[place] for place in (0, 5, 18, 23)] == [0, 2, 6, 8]


def test_frames_of_one_size_share_a_run():
    assert frame_segments(((3, 4, 4), (1, 2, 8), (2, 4, 6))) == ((4, 16), (2, 24))


def test_windows_cover_each_patch_once_and_stay_in_their_frame():
    grids = ((2, 10, 14), (1, 4, 4))
    order, inverse, segments = window_order(grids, 2, 3)
    assert order[inverse].tolist() == list(range(2 * 140 + 16))
    assert sum(count * length for count, length in segments) == len(order)
    coordinates, start = patch_coordinates(grids, 2)[order], 0
    frames = torch.tensor([0] * 140 + [1] * 140 + [2] * 16)[order]
    for count, length in segments:
        for stop in range(start + length, start + count * length + 1, length):
            cells = coordinates[stop - length : stop] // 2
            assert len(frames[stop - length : stop].unique()) == 1
            assert (cells // 3).unique(dim=0).shape[0] == 1, "one window of 3 × 3 cells"
        start += count * length


def test_what_a_chat_left_behind_can_be_trained_on():
    """Tables are kept between calls; made under inference mode they could not be saved for a gradient."""
    config = VisionConfig(2, 32, 2, 48, 40, 14, norm="rms", mlp="swiglu", patch_bias=False, window_size=84)
    tower, pixels = VisionTower(config), torch.randn(16 * 14, config.patch_dim)
    with torch.inference_mode():
        tower(pixels, ((1, 16, 14),))
    features, _ = tower(pixels, ((1, 16, 14),))
    features.sum().backward()
    assert tower.patch_embed.weight.grad.abs().sum() > 0
