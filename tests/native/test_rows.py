"""Norms, rotation and the gate by our own functions: their numbers, and when PyTorch does it instead."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vlm.models import layers, rope
from vlm.native import rows

HALF = 2.0**-8  # half an eps of bfloat16, the most by which a number is rounded, as a share of it


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.inference_mode():
        yield


def _randn(*shape):
    torch.manual_seed(sum(shape))
    return torch.randn(shape).bfloat16()


@pytest.mark.parametrize("shape", [(1, 1, 192), (1, 3, 16, 128), (2, 700, 2048)])
def test_norm(own_functions, shape):
    x, norm = _randn(*shape), layers.RMSNorm(shape[-1]).bfloat16()
    norm.weight.copy_(_randn(shape[-1]))
    wide = x.float()
    expected = wide / (wide.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight.float()
    out = rows.rms_norm(x, norm.weight, norm.eps)
    # Rounded twice; the mean of squares is a float32 sum.
    assert ((out.float() - expected).abs() <= expected.abs() * (2.01 * HALF + shape[-1] * 2**-23)).all()
    assert torch.equal(norm(x), out)


def test_norm_of_what_lies_across(own_functions):
    x, weight = _randn(128, 40).t()[None], _randn(128)
    assert torch.equal(rows.rms_norm(x, weight, 1e-6), rows.rms_norm(x.contiguous(), weight, 1e-6))


def _tables(tokens, size):
    angles = torch.linspace(0, 50, tokens * size // 2).view(tokens, size // 2).repeat(1, 2)
    return angles.cos(), angles.sin()


def _turned(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat((-x[..., half:], x[..., :half]), dim=-1) * sin


@pytest.mark.parametrize("size", [64, 80, 128, 24])  # 80: Qwen2-VL's tower, no multiple of two registers
@pytest.mark.parametrize("batch", [1, 2])
def test_rotation_in_the_decoder(own_functions, size, batch):
    x = _randn(batch, 300, 6, size).transpose(1, 2)
    cos, sin = (table.view(batch, 1, 300, size) for table in _tables(batch * 300, size))
    out, expected = rows.rotate(x, cos, sin), _turned(x.float(), cos, sin)
    # Rounded once, from two products and a sum in float32.
    assert ((out.float() - expected).abs() <= expected.abs() * HALF + x.abs().max() * 2**-22).all()
    assert out.shape == x.shape and torch.equal(rope.rotate(x, cos, sin), out)


def test_rotation_in_the_tower(own_functions):
    q = _randn(500, 3, 4, 80).unbind(1)[1]  # between other things
    cos, sin = (table[:, None] for table in _tables(500, 80))
    out, expected = rows.rotate(q, cos, sin), _turned(q.float(), cos, sin)
    assert ((out.float() - expected).abs() <= expected.abs() * HALF + q.abs().max() * 2**-22).all()


@pytest.mark.parametrize("across", [False, True])
def test_gate(own_functions, across):
    gate, up = (_randn(1, 900, 96), _randn(1, 96, 900).mT.contiguous())
    gate = 8 * gate
    if across:
        gate, up = (x.mT.contiguous().mT for x in (gate, up))
    out, expected = rows.silu_times(gate, up), F.silu(gate.float()) * up.float()
    # Rounded twice. The power is off by 2e-7, which the share's size then has as well.
    assert ((out.float() - expected).abs() <= expected.abs() * (2.01 * HALF + 1e-6)).all()
    assert out.stride() == gate.stride() and torch.equal(layers.silu_times(gate, up), out)


def test_gate_far_out(own_functions):
    gate = torch.tensor([-3e38, -200.0, -80.0, 0.0, 80.0, 3e38, torch.nan, torch.inf] * 2).bfloat16()[None]
    out, expected = (f(gate, torch.ones_like(gate)) for f in (rows.silu_times, lambda g, u: F.silu(g) * u))
    assert torch.equal(out[0, 3:6], expected[0, 3:6]) and out[0, 6].isnan() and out[0, 7] == torch.inf
    assert (out[0, 1:3].float().abs() < 1e-30).all()


def test_what_is_not_finite_shows_in_its_own_row(own_functions):
    x = _randn(4, 64)
    x[2, 7] = torch.nan
    assert rows.rms_norm(x, _randn(64), 1e-6).isnan().any(-1).tolist() == [False, False, True, False]


def test_threads_do_not_change_the_numbers(own_functions):
    x, weight = _randn(500, 4, 64), _randn(64)
    cos, sin = (table[:, None] for table in _tables(500, 64))

    def everything():
        return rows.rms_norm(x, weight, 1e-6), rows.silu_times(x, x), rows.rotate(x, cos, sin)

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = everything()
        torch.set_num_threads(2)
        for own, same in zip(alone, everything(), strict=True):
            assert torch.equal(own, same)
    finally:
        torch.set_num_threads(before)


def test_all_else_stays_with_pytorch(own_functions):
    x, weight = _randn(2, 64), _randn(64)
    assert rows.rms_norm(x.float(), weight.float(), 1e-6) is None
    assert rows.rms_norm(x[:, :40], weight[:40], 1e-6) is None
    assert rows.silu_times(x, x.float()) is None
    assert rows.silu_times(_randn(4, 4, 16), _randn(4, 16, 4).mT) is None
    cos, sin = _tables(2, 64)
    assert rows.rotate(_randn(1, 3, 2, 64), cos[None, None], sin[None, None]) is None  # head by head
    assert rows.rotate(_randn(2, 3, 64), cos[None, :1], sin[None, :1]) is None
    with torch.inference_mode(False), torch.enable_grad():
        assert rows.rms_norm(x, weight, 1e-6) is None
        assert rows.silu_times(x, x) is None
        assert rows.rotate(_randn(2, 3, 64), cos[:, None], sin[:, None]) is None


def test_switched_off():
    x = _randn(2, 64)  # as all other tests have it
    assert rows.rms_norm(x, _randn(64), 1e-6) is None and rows.silu_times(x, x) is None
