"""The one door through which all attention goes.

One mask rule: queries align to the END of the keys. With Tq queries on Tk keys, query i sees keys
0 … Tk - Tq + i. Prefill, a chunk on a cache and one-token decoding are then the same call.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from vlm.records import InputError

try:  # optional: requirements-gpu.txt
    from flash_attn import flash_attn_func, flash_attn_varlen_func
except ImportError:
    flash_attn_func = flash_attn_varlen_func = None
if find_spec("torch.nn.attention.varlen"):  # PyTorch's own since 2.10; grouped heads since 2.12

    def varlen_attn(*args, **kwargs) -> Tensor:
        """Imported when first used: it brings PyTorch's compiler, half of all that there is to import."""
        from torch.nn.attention.varlen import varlen_attn as call

        return call(*args, **kwargs)
else:
    varlen_attn = None

Backend = Literal["flash", "varlen", "sdpa", "math", "eager"]
ROWS = 64  # see `_fill_up`
BACKENDS: tuple[Backend, ...] = ("flash", "varlen", "sdpa", "eager")  # what may be asked for
FUSED = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION]

# A run of (count, length): `count` neighbouring segments of `length` tokens each.
Segments = tuple[tuple[int, int], ...]


def causal_mask(queries: int, keys: int, device: torch.device | None = None) -> Tensor:
    """(Tq, Tk) bool, True where a query may look: the bottom-right rule above."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)


@dataclass(frozen=True)
class Branches:
    """A layout for many questions about one picture: prefixes laid end to end, then branches behind them.

    The one row of tokens holds ``prefixes`` (B, P) first and (N, L) branches after it. A branch sees of its
    own prefix and of itself what ``mask`` allows; a prefix is causal and sees no branch.
    """

    prefixes: tuple[int, int]  # (B, P)
    owner: Tensor  # (N,) int64: the prefix of each branch
    mask: Tensor  # (N, 1, L, P + L) bool, True where a branch may look


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool,
    mask: Tensor | Branches | None = None,
    backend: Backend = "sdpa",
) -> Tensor:
    """Scaled dot-product attention with grouped key/value heads.

    Args:
        q: (B, H, Tq, d). k, v: (B, Hkv, Tk, d) with H a multiple of Hkv.
        causal: apply the bottom-right rule.
        mask: bool, broadcastable to (B, 1, Tq, Tk), True where a query may look; replaces ``causal``.
            Or a layout of branches, with B = 1 and Tq = Tk.
        backend: ``flash`` (the flash-attn package), ``varlen`` (PyTorch's variable-length FlashAttention),
            ``sdpa`` (whichever kernel PyTorch picks; called ``math`` where a probe found that it has none
            but its plain formula) or ``eager`` (the formula written out). A mask of one's own goes through
            sdpa where the first two were asked for, and so does decoding one token with varlen.

    Returns:
        (B, H, Tq, d).
    """
    if isinstance(mask, Branches):
        return _attend_branches(q, k, v, mask, backend)
    if backend == "flash" and mask is None:
        return _flash(q, k, v, causal)
    if backend == "varlen" and mask is None and q.shape[2] > 1:
        return _rows_packed(q, k, v, causal)
    if backend == "eager":
        return _eager(q, k, v, causal, mask)
    if mask is None and q.shape[2] < k.shape[2] and (causal or q.shape[2] == 1):
        return _chunk_on_cache(q, k, v)
    k, v = _repeat_heads(k, q.shape[1]), _repeat_heads(v, q.shape[1])
    if mask is not None or not causal:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    count = q.shape[2]
    q, k, v = (_fill_up(x) for x in (q, k, v))  # no real query sees the keys behind it
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)[:, :, :count]


def resolve_backend(
    wanted: Backend | str, device: torch.device, dtype: torch.dtype, heads: tuple[int, ...] = (64, 128)
) -> Backend:
    """The backend to use on a device.

    ``auto`` takes the first of flash, varlen and sdpa that runs there and gives the formula's numbers; of
    sdpa that holds for its fused kernels, and without them its name is math.

    Args:
        heads: head sizes that the model will use, in the tower and in the decoder.

    Raises:
        InputError: an unknown name, or a backend was asked for that does not run here.
    """
    if wanted not in (*BACKENDS, "auto"):
        raise InputError(f"attention {wanted!r} is not known: use auto, {', '.join(BACKENDS)}")
    for backend in ("flash", "varlen"):
        if wanted not in (backend, "auto"):
            continue
        reason = _why_not(backend, device, dtype, heads)
        if reason is None:
            return backend
        if wanted == backend:
            raise InputError(f"attention {backend} does not run here ({reason}): use --attention auto")
    if wanted == "eager":
        return wanted
    with sdpa_kernel(FUSED):
        fused = all(probe("sdpa", device, dtype, size, own_masks=False) is None for size in heads)
    return "sdpa" if fused else "math"


def _why_not(
    backend: Backend, device: torch.device, dtype: torch.dtype, heads: tuple[int, ...]
) -> str | None:
    if device.type != "cuda":
        return "it needs a CUDA GPU"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "it needs a GPU of compute capability 8.0 or later"
    if backend == "flash" and flash_attn_func is None:
        return "the flash-attn package is not installed"
    if backend == "varlen" and varlen_attn is None:
        return "this PyTorch has no torch.nn.attention.varlen"
    return next((reason for size in heads if (reason := probe(backend, device, dtype, size))), None)


def probe(
    backend: Backend, device: torch.device, dtype: torch.dtype, head: int, own_masks: bool = True
) -> str | None:
    """Run small calls of every kind that the models make; None if they agree with the formula in float32.

    ``own_masks`` False leaves out queries that are fewer than the keys, for which sdpa needs a mask.

    The result rounds to ``dtype`` twice, the softmax weights and the output, each by half an eps of the
    largest value; twice that is allowed for. The scores are float32 sums of at most 128 terms: 64 of its eps.
    """
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, n, 8, head, generator=generator).to(device, dtype) for n in (4, 2, 2))
    runs = ((2, 3), (1, 2))
    x = [part[0].transpose(0, 1).contiguous() for part in (q, q.flip(2), q.flip(3))]  # (P, H, d) each
    try:
        pairs = [
            (
                attend(q[:, :, :queries], k, v, causal=True, backend=backend),
                attend(q[:, :, :queries].float(), k.float(), v.float(), causal=True, backend="eager"),
            )
            for queries in ((1, 3, 8) if own_masks else (1, 8))
        ]
        exact = attend_segments(*(part.float() for part in x), runs, "eager")
        pairs.append((attend_segments(*x, runs, backend), exact))
        worst = max((got.float() - expected).abs().max().item() for got, expected in pairs)
    except Exception as error:  # whatever the kernel raises, it means the same: not on this GPU
        return (str(error) or type(error).__name__).splitlines()[0]
    eps = 2 * torch.finfo(dtype).eps + 64 * torch.finfo(torch.float32).eps
    bound = eps * max(v.abs().max().item(), x[2].abs().max().item())
    return None if worst <= bound else f"it differs from the formula by {worst:.2g}, more than {bound:.2g}"


def attend_segments(q: Tensor, k: Tensor, v: Tensor, segments: Segments, backend: Backend = "sdpa") -> Tensor:
    """Full attention inside each segment of a packed sequence, none across.

    Args:
        q, k, v: (P, H, d), the segments laid end to end. flash and varlen take them all in one call; the
            others take equal neighbours in one call.

    Returns:
        (P, H, d).
    """
    if backend in ("flash", "varlen"):
        bounds, longest = segment_bounds(segments, q.device), max(length for _, length in segments)
        return _packed(q, k, v, bounds, bounds, longest, longest, causal=False, backend=backend)
    outputs, start = [], 0
    for count, length in segments:
        stop = start + count * length
        run = [x[start:stop].unflatten(0, (count, length)).transpose(1, 2) for x in (q, k, v)]  # (N, H, L, d)
        outputs.append(attend(*run, causal=False, backend=backend).transpose(1, 2).flatten(0, 1))
        start = stop
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


@lru_cache(maxsize=64)
def segment_bounds(segments: Segments, device: torch.device) -> Tensor:
    """(N + 1,) int32: where each of the N segments starts, and where the last one ends."""
    lengths = [0, *(length for count, length in segments for _ in range(count))]
    return torch.tensor(lengths).cumsum(0).to(device, torch.int32)


def _packed(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_bounds: Tensor,
    k_bounds: Tensor,
    longest_q: int,
    longest_k: int,
    *,
    causal: bool,
    backend: Backend,
) -> Tensor:
    """Segments of (P, H, d) queries on segments of (Pk, Hkv, d) keys; causal is bottom-right in each."""
    bounds = (q_bounds, k_bounds, longest_q, longest_k)
    if backend == "flash":
        return flash_attn_varlen_func(q, k, v, *bounds, causal=causal)
    grouped = q.shape[1] != k.shape[1]
    return varlen_attn(q, k, v, *bounds, window_size=(-1, 0 if causal else -1), enable_gqa=grouped)


def _rows_packed(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """(B, H, Tq, d) through the variable-length call, each row of the batch a segment."""
    batch, _, queries, _ = q.shape
    keys = k.shape[2]
    q, k, v = (x.transpose(1, 2).flatten(0, 1) for x in (q, k, v))  # (B * T, H, d)
    bounds = [segment_bounds(((batch, length),), q.device) for length in (queries, keys)]
    out = _packed(q, k, v, *bounds, queries, keys, causal=causal, backend="varlen")
    return out.unflatten(0, (batch, queries)).transpose(1, 2)


def _attend_branches(q: Tensor, k: Tensor, v: Tensor, layout: Branches, backend: Backend) -> Tensor:
    """Two calls instead of one square one: most pairs of a packed row may not see each other."""
    count, length = layout.prefixes
    cut = count * length
    q0, k0, v0 = (_fold(x[0, :, :cut], count, length) for x in (q, k, v))  # (B, H, P, d)
    trunk = attend(q0, k0, v0, causal=True, backend=backend)
    if len(layout.owner) == 0:
        return _unfold(trunk)[None]
    branches = layout.mask.shape[0], layout.mask.shape[2]
    q1, k1, v1 = (_fold(x[0, :, cut:], *branches) for x in (q, k, v))  # (N, H, L, d)
    k1, v1 = (torch.cat((x0[layout.owner], x1), dim=2) for x0, x1 in ((k0, k1), (v0, v1)))
    leaves = biased(q1, k1, v1, layout.mask)
    return torch.cat((_unfold(trunk), _unfold(leaves)), dim=1)[None]


def biased(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """The formula with the mask added, all in the tensors' own dtype (softmax itself sums in float32)."""
    k, v = _repeat_heads(k, q.shape[1]), _repeat_heads(v, q.shape[1])
    bias = torch.zeros_like(mask, dtype=q.dtype).masked_fill_(~mask, torch.finfo(q.dtype).min / 2)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)  # (N, H, L, P + L)
    return scores.add_(bias).softmax(-1) @ v


def _fold(x: Tensor, count: int, length: int) -> Tensor:
    """(H, N * L, d) → (N, H, L, d)."""
    return x.unflatten(1, (count, length)).transpose(0, 1)


def _unfold(x: Tensor) -> Tensor:
    """(N, H, L, d) → (H, N * L, d)."""
    return x.transpose(0, 1).flatten(1, 2)


def _flash(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """flash-attn 2.1 and later: tokens before heads, grouped heads as they are, bottom-right causal rule."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return flash_attn_func(q, k, v, causal=causal).transpose(1, 2)


def _repeat_heads(x: Tensor, heads: int) -> Tensor:
    """(B, Hkv, T, d) → (B, H, T, d); query head h reads key head h // (H / Hkv)."""
    groups = heads // x.shape[1]
    return x if groups == 1 else x.repeat_interleave(groups, dim=1)


def _chunk_on_cache(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention of a chunk, or of one token, on earlier keys.

    The heads that share a key head become rows of one call, so keys are read once and never repeated. One
    token sees everything and needs no mask.
    """
    groups, count = q.shape[1] // k.shape[1], q.shape[2]
    rows = q.reshape(q.shape[0], k.shape[1], groups * count, q.shape[3])  # (B, Hkv, G * Tq, d)
    if count == 1:
        return F.scaled_dot_product_attention(rows, k, v).view_as(q)
    filled = _fill_up(rows)
    bias = _causal_bias(groups, count, k.shape[2], filled.shape[2], q.dtype, q.device)
    out = F.scaled_dot_product_attention(filled, k, v, attn_mask=bias)
    return out[:, :, : groups * count].reshape(q.shape)


@lru_cache(maxsize=2)  # all layers of a chunk share it
def _causal_bias(
    groups: int, queries: int, keys: int, rows: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """(rows, Tk): 0 where a query may look, else -inf, group after group; rows behind them see everything.

    Of a bool mask each layer would make this.
    """
    bias = torch.zeros(queries, keys, dtype=dtype, device=device)
    bias = bias.masked_fill_(~causal_mask(queries, keys, device), -torch.inf).repeat(groups, 1)
    return F.pad(bias, (0, 0, 0, rows - len(bias)))


def _fill_up(x: Tensor) -> Tensor:
    """(B, H, T, d) with zeros behind, up to a multiple of `ROWS`, where a CPU computes in 16 bits.

    PyTorch (2.13) keeps a compiled product for every new pair of query and key lengths, a third of a megabyte
    each, and never lets go; with query lengths in steps there are few of them (docs/decisions.md).
    """
    if x.device.type != "cpu" or x.dtype == torch.float32:
        return x
    return F.pad(x, (0, 0, 0, -x.shape[2] % ROWS))


def _eager(q: Tensor, k: Tensor, v: Tensor, causal: bool, mask: Tensor | None) -> Tensor:
    k, v = _repeat_heads(k, q.shape[1]), _repeat_heads(v, q.shape[1])
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5  # (B, H, Tq, Tk)
    if mask is None and causal:
        mask = causal_mask(q.shape[2], k.shape[2], q.device)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(-1, dtype=torch.float32).to(q.dtype) @ v
