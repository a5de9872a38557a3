"""Our own 4-bit product: its numbers, and who gets it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vlm.chat.sampling import Sampling
from vlm.chat.session import ChatSession
from vlm.engines import open_engine
from vlm.families.checkpoint import open_checkpoint, save_checkpoint
from vlm.weights import kept, load, streamed
from vlm.weights.quantize import quantised
from vlm.weights.streamed import FEW_ROWS, GROUPS, StreamedBank

CPU = torch.device("cpu")


def _matrix(*shape):
    torch.manual_seed(0)
    return (0.02 * torch.randn(shape)).bfloat16()


@pytest.mark.parametrize("rows", [1, 2, 7, FEW_ROWS, FEW_ROWS + 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", list(GROUPS))
def test_products(own_functions, kind, dtype, rows):
    """Runs of four blocks and what is left of them; every number of vectors that is taken at a time."""
    bank = quantised(_matrix(16 * 7, 256), kind, CPU)
    assert isinstance(bank, StreamedBank) and bank.kind == kind
    x, bias = torch.randn(1, rows, 256).to(dtype), torch.randn(112).to(dtype)
    dense, out = bank.dense(0).float(), bank.linear(0, x, bias)
    assert out.dtype == dtype and out.shape == (1, rows, 112)
    expected = F.linear(x.float(), dense, bias.float())
    # An input is off by half a step, the 127th of its group's largest; nf4's levels are whole 112ths.
    steps = x.float().unflatten(-1, (-1, GROUPS[kind])).abs().amax(-1) / 127
    sizes = dense.abs().unflatten(-1, (-1, GROUPS[kind])).sum(-1)
    allowed = steps @ sizes.t() / 2
    if kind == "nf4":
        largest = dense.abs().unflatten(-1, (-1, 64)).amax(-1).repeat_interleave(64, 1)
        allowed += x.abs().float() @ largest.t() / 224
    if rows > FEW_ROWS:
        allowed = torch.zeros_like(allowed)
    # Half an eps each: of bfloat16 for the unpacked weights, of the output for the product and its sum with
    # the bias. Sums of 256 terms in float32.
    eps = torch.finfo(torch.bfloat16).eps / 2 + torch.finfo(dtype).eps + 256 * 2**-23
    allowed += eps * (x.abs().float() @ dense.abs().t() + bias.abs().float())
    assert ((out.float() - expected).abs() <= allowed).all()


@pytest.mark.parametrize("kind", list(GROUPS))
def test_the_weights_are_those_of_the_plain_order(own_functions, kind, monkeypatch):
    matrix = _matrix(3, 128, 192)
    mine = quantised(matrix, kind, CPU)
    with monkeypatch.context() as without:
        without.setattr(streamed, "works", lambda: False)
        plain = quantised(matrix, kind, CPU)
    assert not isinstance(plain, StreamedBank)
    x = torch.randn(2, 192).bfloat16()
    for index in range(3):
        # Scales are bfloat16 in one and may be float32 in the other; the products are rounded once more.
        torch.testing.assert_close(mine.dense(index), plain.dense(index), rtol=2**-7, atol=2**-9 * 0.02)
        one, other = mine.linear(index, x).float(), plain.linear(index, x).float()
        assert F.cosine_similarity(one, other).min() > 0.999  # 1% off would be 0.99995


@pytest.mark.parametrize("kind", list(GROUPS))
def test_threads_do_not_change_the_numbers(own_functions, kind):
    bank, before = quantised(_matrix(16 * 11, 512), kind, CPU), torch.get_num_threads()
    x = torch.randn(3, 512).bfloat16()
    try:
        torch.set_num_threads(1)
        alone, whole = bank.linear(0, x), bank.dense(0)
        torch.set_num_threads(2)
        assert torch.equal(bank.linear(0, x), alone) and torch.equal(bank.dense(0), whole)
    finally:
        torch.set_num_threads(before)


def test_what_is_not_a_number_stays_none_and_nothing_gives_nothing(own_functions):
    bank, x = quantised(_matrix(64, 64), "nf4", CPU), torch.zeros(3, 64)
    x[1, 5], x[2, 6] = torch.nan, torch.inf
    out = bank.linear(0, x)
    assert (out[0] == 0).all() and not out[1:].isfinite().any()


def test_gradients_reach_the_input(own_functions):
    bank, x = (
        quantised(_matrix(64, 64), "int4", CPU),
        torch.randn(2, 64, requires_grad=True),
    )
    bank.linear(0, x).sum().backward()
    torch.testing.assert_close(x.grad, bank.dense(0).float().sum(0).expand(2, -1))


def test_what_does_not_fit_keeps_the_plain_way(own_functions):
    for rows, columns in ((33, 64), (32, 72), (5, 6)):
        assert not isinstance(quantised(_matrix(rows, columns), "nf4", CPU), StreamedBank)
    for kind in GROUPS:  # float32 is asked for where numbers should be exact
        assert not isinstance(quantised(_matrix(64, 64).float(), kind, CPU), StreamedBank)


@pytest.mark.parametrize("kind", list(GROUPS))
def test_a_model_answers_with_it_and_is_kept(own_functions, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "LEAST", 0)
    save_checkpoint(open_checkpoint("tiny", dtype="bfloat16"), tmp_path)
    first = open_engine(str(tmp_path), quantize=kind, dtype="bfloat16")
    _, trace = (
        None,
        list(ChatSession(first).ask("What colour is the circle?", ["examples/circle.png"], Sampling(8)))[-1],
    )
    assert "red" in trace.answer.lower() and trace.stats["quantize"] == kind
    monkeypatch.setattr(load, "quantised", lambda *_: pytest.fail("quantised again"))
    second = (
        open_checkpoint(tmp_path, quantize=kind, dtype="bfloat16")
        .model.decoder.layers[0]
        .mlp.gate_proj.weight
    )
    assert isinstance(second, StreamedBank)
    assert torch.equal(second.dense(0), first.model.decoder.layers[0].mlp.gate_proj.weight.dense(0))


def test_other_numbers_are_not_used(own_functions, monkeypatch):
    monkeypatch.setattr(streamed, "_in_8_bits", lambda x, group: 1.01 * x)
    assert not streamed._right("int4") and not streamed._right("nf4")
