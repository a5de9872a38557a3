"""int4: PyTorch's own products, the right numbers, and refusals in words."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vlm.chat.sampling import Sampling
from vlm.chat.session import ChatSession
from vlm.engines import open_engine
from vlm.families.checkpoint import open_checkpoint
from vlm.records import InputError
from vlm.weights import int4 as kernels
from vlm.weights.choose import quantised_bytes
from vlm.weights.int4 import Int4Bank
from vlm.weights.quantize import quantised

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(kernels.why_not("cpu") is not None, reason="needs AVX-512")


def _bank(rows=128, columns=160, experts=None):
    torch.manual_seed(0)
    shape = (rows, columns) if experts is None else (experts, rows, columns)
    matrix = (0.02 * torch.randn(shape)).bfloat16()
    return matrix, quantised(matrix, "int4", CPU)


@pytest.mark.parametrize("rows", [1, 5, 100])
def test_products(rows):
    """Few rows by the kernel, many by the unpacked matrix: both are the product with `dense`."""
    matrix, bank = _bank()
    x, bias = torch.randn(rows, 160).bfloat16(), torch.randn(128).bfloat16()
    dense = bank.dense(0).float()
    out, expected = bank.linear(0, x, bias).float(), F.linear(x.float(), dense, bias.float())
    # Terms, sum and weights each rounded to bfloat16: half an eps of the largest sum of sizes.
    size = (x.float().abs() @ dense.abs().T + bias.float().abs()).max()
    assert (out - expected).abs().max() < 3 * torch.finfo(torch.bfloat16).eps / 2 * size
    # A normal variable in groups of 32: a range of about 4.1 deviations, steps of 0.28, 0.28 / √12 = 0.08.
    assert (dense - matrix.float()).norm() / matrix.float().norm() < 0.09


def test_experts_one_by_one():
    matrix, bank = _bank(experts=3)
    for index in range(3):
        alone = quantised(matrix[index], "int4", CPU)
        assert torch.equal(bank.dense(index), alone.dense(0))


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match=r"steps of 64 and 32, not 100 × 160.*nf4"):
        _bank(rows=100)


def test_a_kernel_with_other_numbers_is_refused(monkeypatch):
    kernels.why_not.cache_clear()
    pack = kernels._pack
    monkeypatch.setattr(kernels, "_pack", lambda matrix: (pack(matrix)[0], pack(-matrix)[1]))
    assert "not that of the matrix" in kernels.why_not("cpu")
    kernels.why_not.cache_clear()


def test_a_model_in_int4_with_its_head():
    """The embedded model keeps its answer, and its size is what was foretold."""
    checkpoint, plain = open_checkpoint("tiny", quantize="int4"), open_checkpoint("tiny")
    decoder = checkpoint.model.decoder
    assert isinstance(decoder.lm_head.weight, Int4Bank)
    assert checkpoint.quantize == checkpoint.model.quantization == "int4"
    estimate = quantised_bytes(plain.model, "int4")
    assert abs(checkpoint.model.nbytes - estimate) < 0.01 * estimate
    session = ChatSession(open_engine("tiny", quantize="int4"))
    *_, trace = session.ask("What colour is the circle?", ["examples/circle.png"], Sampling(8))
    assert trace.stats["quantize"] == "int4" and "red" in trace.answer.lower()
