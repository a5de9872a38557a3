"""The one door: its mask rule, its backends, its segments."""

from __future__ import annotations

import pytest
import torch

from vlm.models.attention import attend, attend_segments, causal_mask

CLOSE = {"rtol": 0, "atol": 1e-5}  # sums of at most 16 terms of size 1: a few hundred roundings of 6e-8


def _qkv(queries, keys, heads=6, kv_heads=2, batch=1):
    torch.manual_seed(0)
    q = torch.randn(batch, heads, queries, 16)
    return q, torch.randn(batch, kv_heads, keys, 16), torch.randn(batch, kv_heads, keys, 16)


def _by_hand(q, k, v, mask):
    """Softmax over what may be seen, head by head."""
    out = torch.empty_like(q)
    for head in range(q.shape[1]):
        own = head // (q.shape[1] // k.shape[1])
        scores = (q[0, head] @ k[0, own].T / 4).masked_fill(~mask, -torch.inf)
        out[0, head] = scores.softmax(-1) @ v[0, own]
    return out


def test_queries_align_to_the_end_of_the_keys():
    assert causal_mask(2, 4).tolist() == [[True, True, True, False], [True] * 4]


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (1, 5), (3, 8), (1, 1), (7, 8)])
def test_causal(backend, queries, keys):
    q, k, v = _qkv(queries, keys)
    expected = _by_hand(q, k, v, causal_mask(queries, keys))
    torch.testing.assert_close(attend(q, k, v, causal=True, backend=backend), expected, **CLOSE)


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
def test_full_and_masked(backend):
    q, k, v = _qkv(4, 6)
    everything = torch.ones(4, 6, dtype=torch.bool)
    full = attend(q, k, v, causal=False, backend=backend)
    torch.testing.assert_close(full, _by_hand(q, k, v, everything), **CLOSE)
    mask = everything.clone()
    mask[:, 2] = False
    masked = attend(q, k, v, causal=True, mask=mask[None, None], backend=backend)
    torch.testing.assert_close(masked, _by_hand(q, k, v, mask), **CLOSE)


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
def test_segments_do_not_see_each_other(backend):
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2 * 4 + 5, 3, 16)  # three tensors (P, H, d)
    out = attend_segments(q, k, v, ((2, 4), (1, 5)), backend)
    for start, stop in ((0, 4), (4, 8), (8, 13)):
        own = [x[start:stop].transpose(0, 1)[None] for x in (q, k, v)]
        alone = attend(*own, causal=False, backend=backend)[0].transpose(0, 1)
        torch.testing.assert_close(out[start:stop], alone, **CLOSE)


@pytest.mark.parametrize("backend", ["sdpa", "eager"])
def test_rows_of_a_batch_are_independent(backend):
    q, k, v = _qkv(3, 3, batch=2)
    together = attend(q, k, v, causal=True, backend=backend)
    alone = attend(q[1:], k[1:], v[1:], causal=True, backend=backend)
    torch.testing.assert_close(together[1:], alone, **CLOSE)
