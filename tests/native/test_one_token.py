"""One token's attention by our own function: its numbers, and when PyTorch does it instead."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from vlm.models import attention as door
from vlm.native.attention import one_token


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def _made(heads, groups, count, size=128, dtype=torch.bfloat16, batch=1):
    """Queries, and keys and values as a cache gives them: with room behind."""
    torch.manual_seed(0)
    store = torch.randn(2, batch, heads, count + 5, size).to(dtype)
    store[..., count:, :] = torch.nan  # nobody may look there
    return torch.randn(batch, heads, groups, size).to(dtype), *store[:, :, :, :count]


def _formula(q, k, v):
    return (q.float() @ k.float().mT * q.shape[-1] ** -0.5).softmax(-1) @ v.float()


@pytest.mark.parametrize("count", [1, 15, 128, 129, 1000])
@pytest.mark.parametrize("groups", [1, 2, 7])
def test_numbers(own_functions, count, groups):
    q, k, v = _made(4, groups, count)
    out, expected = one_token(q, k, v), _formula(q, k, v)
    # One rounding of the result to bfloat16, half an eps; scores below 8 as sums of 128 terms in float32.
    assert (out.float() - expected).abs().max() <= expected.abs().max() * (2**-8 + 8 * 128 * 2**-23)


def test_scores_far_apart(own_functions):
    """The largest comes late, then early; the others' weights are 0."""
    q, k, v = _made(1, 2, 300)
    for place in (290, 3):
        k[0, 0, place] = 40 * q[0, 0].mean(0)
        assert torch.isfinite(one_token(q, k, v)).all()
        expected = _formula(q, k, v)
        # Scores of some 300 in float32 are off by up to 300 · 128 · 2⁻²³.
        error = 2**-8 + 300 * 128 * 2**-23
        assert (one_token(q, k, v).float() - expected).abs().max() <= expected.abs().max() * error


def test_what_is_not_a_number_shows(own_functions):
    q, k, v = _made(2, 2, 200)
    k[0, 1, 150, 3] = torch.nan
    out = one_token(q, k, v)
    assert out[0, 0].isfinite().all() and out[0, 1].isnan().all()


def test_threads_do_not_change_the_numbers(own_functions):
    q, k, v = _made(5, 2, 300)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = one_token(q, k, v)
        torch.set_num_threads(2)
        assert torch.equal(one_token(q, k, v), alone)
    finally:
        torch.set_num_threads(before)


def test_the_door_uses_it(own_functions, monkeypatch):
    q, k, v = _made(2, 3, 40)
    q = q.view(1, 6, 1, 128)
    expected = door.attend(q, k, v, causal=True)
    assert torch.equal(expected.view(1, 2, 3, 128), one_token(q.view(1, 2, 3, 128), k, v))
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *_, **__: pytest.fail("PyTorch's"))
    door.attend(q, k, v, causal=True)


def test_all_else_stays_with_pytorch(own_functions):
    assert one_token(*_made(2, 2, 9, size=64)) is None
    assert one_token(*_made(2, 2, 9, dtype=torch.float32)) is None
    assert one_token(*_made(2, 2, 9, batch=2)) is None
    q, k, v = _made(2, 2, 9)
    assert one_token(q, k.mT.contiguous().mT, v) is None
    with torch.enable_grad():
        assert one_token(q, k, v) is None


def test_switched_off():
    assert one_token(*_made(2, 2, 9)) is None  # as all other tests have it
