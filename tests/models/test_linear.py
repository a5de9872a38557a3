"""The fast products give the numbers of the plain ones."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vlm.models import linear as door
from vlm.models.layers import MLP, SwiGLU, gelu_tanh
from vlm.models.linear import FEW, Linear, linear, linear_gelu_tanh

EPS = torch.finfo(torch.bfloat16).eps


def _parts(rows, dtype=torch.bfloat16, outputs=48, inputs=160):
    torch.manual_seed(0)
    x, weight = torch.randn(*rows, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
    return x, weight, torch.randn(outputs).to(dtype)


def _close(got, x, weight, bias):
    """Sums in float32, rounded to bfloat16 before and after the bias: an eps of the largest sum of sizes."""
    expected = F.linear(x.float(), weight.float(), bias.float())
    size = F.linear(x.float().abs(), weight.float().abs(), bias.float().abs())
    assert got.shape == expected.shape and got.dtype == x.dtype
    assert ((got.float() - expected).abs() <= EPS * size).all()


@pytest.mark.parametrize("rows", [(1,), (1, 1), (2,), (1, 7), (3, 5), (1, FEW), (FEW + 1,)], ids=str)
def test_every_number_of_rows(rows):
    x, weight, bias = _parts(rows)
    with torch.no_grad():
        _close(linear(x, weight, bias), x, weight, bias)
        _close(linear(x.transpose(0, -2).contiguous().transpose(0, -2), weight, bias), x, weight, bias)


@pytest.mark.parametrize("rows", [(1,), (1, 7), (FEW + 1,)], ids=str)
def test_float32_is_left_alone(rows):
    """Greedy answers in float32 cannot differ: it is PyTorch's own product, bit for bit."""
    x, weight, bias = _parts(rows, torch.float32)
    with torch.no_grad():
        assert torch.equal(linear(x, weight, bias), F.linear(x, weight, bias))


def test_training_is_left_alone():
    layer = Linear(160, 48).bfloat16()
    x = torch.randn(4, 160).bfloat16()
    assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))
    layer(x).sum().backward()
    assert layer.weight.grad is not None


@pytest.mark.parametrize("fused", [True, False])
def test_gelu_after_a_product(fused, monkeypatch):
    if not fused:
        monkeypatch.setattr(door, "_fused_gelu", None)
    x, weight, bias = _parts((70,))
    with torch.no_grad():
        got = linear_gelu_tanh(x, weight, bias).float()
    inner = F.linear(x.float(), weight.float(), bias.float())
    size = F.linear(x.float().abs(), weight.float().abs(), bias.float().abs())
    # GELU is nowhere steeper than 1.13; the result itself rounds once more.
    bound = 1.13 * EPS * size + EPS
    assert ((got - F.gelu(inner, approximate="tanh")).abs() <= bound).all()


def test_a_compiler_sees_plain_operators():
    """Training scores its model compiled, without gradients; the compiler knows no private operator."""
    seen = []

    def compiler(graph, inputs):
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    mlp = MLP(32, 64, gelu_tanh).bfloat16().requires_grad_(False)
    with torch.no_grad():
        torch.compile(mlp, backend=compiler)(torch.randn(5, 32).bfloat16())
    assert any("gelu" in name for name in seen) and not any("mkldnn" in name for name in seen)


def test_an_adapter_comes_before_the_activation():
    """LoRA puts its own module in the place of ``fc1``; the fused product must not go past it."""
    mlp = MLP(32, 64, gelu_tanh).bfloat16().requires_grad_(False)
    x = torch.randn(5, 32).bfloat16()
    with torch.no_grad():
        before = mlp(x)
        mlp.fc1 = nn.Sequential(mlp.fc1, nn.Threshold(10.0, 1.0))  # everything becomes 1
        after = mlp(x)
    assert not torch.equal(before, after) and torch.equal(after[0], after[1])


@pytest.mark.parametrize("rows", [(FEW + 3,), (1, 2 * FEW), (2, FEW - 1)], ids=str)
def test_a_gated_mlp_in_pieces_is_that_of_each_piece(rows):
    mlp = SwiGLU(32, 64, bias=False).bfloat16()
    x = torch.randn(*rows, 32).bfloat16()
    with torch.no_grad():
        whole = mlp(x)
        parts = [mlp(part) for part in x.split(FEW, dim=-2)]
        assert torch.equal(whole, torch.cat(parts, dim=-2)) and whole.shape == x.shape


def test_meta_models_draw_nothing():
    with torch.device("meta"):
        assert Linear(8, 8).weight.is_meta
    assert Linear(8, 8).weight.abs().sum() > 0
