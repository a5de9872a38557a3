"""The one door: its mask rule, its backends, its segments."""

from __future__ import annotations

import pytest
import torch

from vlm.config import VisionConfig
from vlm.models import attention, backends, varlen
from vlm.models.attention import attend, attend_segments, causal_mask
from vlm.models.backends import probe, resolve_backend
from vlm.models.tower import VisionTower
from vlm.records import InputError

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


# Stand-ins with the documented signatures of the two variable-length functions, computed segment by segment.
# The real ones need a GPU and have not been run.
def _segments_by_hand(q, k, v, cu_q, cu_k, causal):
    assert cu_q.dtype == cu_k.dtype == torch.int32 and len(cu_q) == len(cu_k)
    assert (cu_q[0], cu_q[-1], cu_k[-1]) == (0, len(q), len(k))
    outputs = []
    for index in range(len(cu_q) - 1):
        own = slice(cu_q[index], cu_q[index + 1])
        keys = slice(cu_k[index], cu_k[index + 1])
        rows = [x.transpose(0, 1)[None] for x in (q[own], k[keys], v[keys])]
        outputs.append(attend(*rows, causal=causal, backend="eager")[0].transpose(0, 1))
    return torch.cat(outputs)


def flash_attn_varlen_func(
    q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p=0.0, softmax_scale=None,
    causal=False,
):  # fmt: skip
    assert max_seqlen_q == cu_seqlens_q.diff().max() and max_seqlen_k == cu_seqlens_k.diff().max()
    return _segments_by_hand(q, k, v, cu_seqlens_q, cu_seqlens_k, causal)


def flash_attn_func(q, k, v, dropout_p=0.0, softmax_scale=None, causal=False):
    own = [x.transpose(1, 2) for x in (q, k, v)]
    return attend(*own, causal=causal, backend="eager").transpose(1, 2)


def varlen_attn(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale=None, window_size=(-1, -1), enable_gqa=False
):  # fmt: skip
    assert enable_gqa or query.shape[1] == key.shape[1]
    assert max_q == cu_seq_q.diff().max() and max_k == cu_seq_k.diff().max()
    assert window_size in ((-1, -1), (-1, 0))
    return _segments_by_hand(query, key, value, cu_seq_q, cu_seq_k, window_size == (-1, 0))


def top_left(query, key, value, *bounds, window_size=(-1, -1), enable_gqa=False):
    """The other causal rule: query i sees keys 0 … i."""
    q, k, v = (x.transpose(0, 1)[None] for x in (query, key, value))
    mask = torch.ones(len(query), len(key), dtype=torch.bool).tril() if window_size == (-1, 0) else None
    return attend(q, k, v, causal=False, mask=mask, backend="eager")[0].transpose(0, 1)


@pytest.fixture(params=["flash", "varlen"])
def packed(request, monkeypatch):
    """A backend that takes variable lengths, with stand-ins for what needs a GPU."""
    monkeypatch.setattr(varlen, "flash_functions", lambda: (flash_attn_func, flash_attn_varlen_func))
    monkeypatch.setattr(varlen, "varlen_function", lambda: varlen_attn)
    return request.param


@pytest.mark.parametrize(("queries", "keys", "batch"), [(5, 5, 1), (1, 5, 2), (3, 8, 1), (3, 8, 2)])
def test_variable_length_causal(packed, queries, keys, batch):
    q, k, v = _qkv(queries, keys, batch=batch)
    expected = attend(q, k, v, causal=True, backend="eager")
    torch.testing.assert_close(attend(q, k, v, causal=True, backend=packed), expected, **CLOSE)


def test_variable_length_segments_in_one_call(packed, monkeypatch):
    calls = []
    door = attention.packed
    monkeypatch.setattr(attention, "packed", lambda *a, **o: calls.append(a[3].tolist()) or door(*a, **o))
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2 * 4 + 5 + 2, 3, 16)
    runs = ((2, 4), (1, 5), (1, 2))
    out = attend_segments(q, k, v, runs, packed)
    torch.testing.assert_close(out, attend_segments(q, k, v, runs, "eager"), **CLOSE)
    assert calls == [[0, 4, 8, 13, 15]]


def test_windows_of_a_tower_are_one_call_a_block(packed, monkeypatch):
    """A picture whose merged grid is no multiple of the window: nine windows of four sizes."""
    calls = []
    door = attention.packed
    monkeypatch.setattr(attention, "packed", lambda *a, **o: calls.append(len(a[3]) - 1) or door(*a, **o))
    torch.manual_seed(0)
    config = VisionConfig(
        3, 32, 2, 48, 40, 14, norm="rms", mlp="swiglu", patch_bias=False, window_size=84,
        full_attention_blocks=(1,),
    )  # fmt: skip
    tower = VisionTower(config).eval()
    grids = ((1, 16, 14),)
    pixels = torch.randn(16 * 14, config.patch_dim)
    with torch.no_grad():
        ours, _ = tower(pixels, grids, packed)
        expected, _ = tower(pixels, grids, "eager")
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)  # three blocks behind each other
    assert calls == [9, 1, 9]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("head", [64, 72, 80, 128])
def test_probe_accepts_what_follows_the_formula(packed, dtype, head):
    assert probe(packed, torch.device("cpu"), dtype, head) is None


def test_probe_refuses_the_other_causal_rule_and_crashes(monkeypatch):
    monkeypatch.setattr(varlen, "varlen_function", lambda: top_left)
    assert "differs from the formula" in probe("varlen", torch.device("cpu"), torch.bfloat16, 64)
    monkeypatch.setattr(varlen, "varlen_function", lambda: None)
    assert "not callable" in probe("varlen", torch.device("cpu"), torch.bfloat16, 64)


def test_start_up_takes_the_first_that_works(packed, monkeypatch):
    cpu, dtype = torch.device("cpu"), torch.float32
    assert resolve_backend("auto", cpu, dtype) == "sdpa"
    for wanted in ("flash", "varlen"):
        with pytest.raises(InputError, match="needs a CUDA GPU"):
            resolve_backend(wanted, cpu, dtype)
    works: set[str] = {"flash", "varlen"}
    monkeypatch.setattr(backends, "_why_not", lambda backend, *_: None if backend in works else "broken")
    assert resolve_backend("auto", cpu, dtype) == "flash"
    assert resolve_backend("varlen", cpu, dtype) == "varlen"
    works.remove("flash")
    assert resolve_backend("auto", cpu, dtype) == "varlen"
    with pytest.raises(InputError, match=r"flash does not run here \(broken\)"):
        resolve_backend("flash", cpu, dtype)
    works.clear()
    monkeypatch.setattr(backends, "FUSED", [backends.SDPBackend.CUDNN_ATTENTION])  # has no CPU kernel
    assert resolve_backend("auto", cpu, dtype) == "math"
