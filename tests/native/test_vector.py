"""A matrix times one vector by our own function: its numbers, and when PyTorch does it instead."""

from __future__ import annotations

import pytest
import torch

from vlm.models.linear import Linear
from vlm.native import vector
from vlm.native.vector import matrix_vector


def _made(rows, columns):
    torch.manual_seed(0)
    return torch.randn(rows, columns).bfloat16(), torch.randn(columns).bfloat16()


@pytest.fixture
def only_ours(own_functions, monkeypatch):
    monkeypatch.setattr(torch, "mv", lambda *_: pytest.fail("PyTorch's"))


@pytest.mark.parametrize("rows", [1, 7, 8, 85])
@pytest.mark.parametrize("columns", [32, 192, 2048])
def test_numbers(only_ours, rows, columns):
    matrix, x = _made(rows, columns)
    out, products = matrix_vector(matrix, x), matrix.float() * x.float()
    # Half an eps of bfloat16 for the result; a float32 sum of so many terms.
    allowed = products.sum(1).abs() * 2**-8 + products.abs().sum(1) * columns * 2**-23
    assert out.dtype == torch.bfloat16 and out.shape == (rows,)
    assert ((out.float() - products.sum(1)).abs() <= allowed).all()


def test_threads_do_not_change_the_numbers(only_ours):
    matrix, x = _made(403, 96)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = matrix_vector(matrix, x)
        torch.set_num_threads(2)
        assert torch.equal(matrix_vector(matrix, x), alone)
    finally:
        torch.set_num_threads(before)


def test_what_is_not_finite_shows_in_its_own_row(only_ours):
    matrix, x = _made(16, 64)
    matrix[3, 5], matrix[9, 6] = torch.nan, torch.inf
    out = matrix_vector(matrix, x)
    assert out[3].isnan() and out[9].isinf() and out.isfinite().sum() == 14


def test_a_vector_with_gaps(only_ours):
    matrix, x = _made(8, 64)
    assert torch.equal(matrix_vector(matrix, x.repeat_interleave(2)[::2]), matrix_vector(matrix, x))


def test_a_linear_layer_uses_it_for_one_token(only_ours):
    layer, x = Linear(64, 24).bfloat16(), torch.randn(1, 1, 64).bfloat16()
    with torch.inference_mode():
        expected = matrix_vector(layer.weight, x.flatten()) + layer.bias
        assert torch.equal(layer(x)[0, 0], expected)


@pytest.mark.parametrize("case", ["a width of 40", "a matrix lying across"])
def test_all_else_stays_with_pytorch(own_functions, monkeypatch, case):
    monkeypatch.setattr(vector, "_call", lambda *_: pytest.fail("ours"))
    matrix, x = _made(8, 40) if "40" in case else _made(64, 64)
    matrix = matrix if "40" in case else matrix.t()
    assert torch.equal(matrix_vector(matrix, x), torch.mv(matrix, x))


def test_switched_off(monkeypatch):
    monkeypatch.setattr(vector, "_call", lambda *_: pytest.fail("ours"))
    matrix, x = _made(8, 64)  # as all other tests have it
    assert torch.equal(matrix_vector(matrix, x), torch.mv(matrix, x))
