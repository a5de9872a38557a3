"""Text decoder: grouped-query attention with M-RoPE, SwiGLU or experts, DeepStack in the first layers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from vlm.config import DecoderConfig
from vlm.models.attention import Backend, attend
from vlm.models.branches import Branches
from vlm.models.cache import KVCache
from vlm.models.experts import SparseMLP
from vlm.models.layers import Embedding, RMSNorm, SwiGLU
from vlm.models.linear import Linear, linear
from vlm.models.rope import inverse_frequencies, mrope_axes, mrope_table, rotate


@dataclass(frozen=True)
class DeepStack:
    """Taps to add after the first decoder layers, and the rows of the chunk they belong to."""

    rows: Tensor  # (V,) int64, into the flattened (B * T) tokens of this chunk
    taps: tuple[Tensor, ...]  # each (V, D); tap i is added after layer i


class DecoderAttention(nn.Module):
    def __init__(self, config: DecoderConfig):
        super().__init__()
        width, head = config.hidden_size, config.head_dim
        self.head_dim = head
        self.q_proj = Linear(width, config.num_heads * head, bias=config.qkv_bias)
        self.k_proj = Linear(width, config.num_kv_heads * head, bias=config.qkv_bias)
        self.v_proj = Linear(width, config.num_kv_heads * head, bias=config.qkv_bias)
        self.o_proj = Linear(config.num_heads * head, width, bias=False)
        self.q_norm = RMSNorm(head, config.rms_norm_eps) if config.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(head, config.rms_norm_eps) if config.qk_norm else nn.Identity()

    def forward(
        self,
        x: Tensor,
        rope: tuple[Tensor, Tensor],
        layer: int,
        cache: KVCache | None,
        mask: Tensor | Branches | None,
        backend: Backend,
    ) -> Tensor:
        heads = (*x.shape[:2], -1, self.head_dim)
        q = rotate(self.q_norm(self.q_proj(x).view(heads)).transpose(1, 2), *rope)  # (B, H, T, d)
        k = rotate(self.k_norm(self.k_proj(x).view(heads)).transpose(1, 2), *rope)  # (B, Hkv, T, d)
        v = self.v_proj(x).view(heads).transpose(1, 2)
        if cache is not None:
            k, v = cache.extend(layer, k, v)  # (B, Hkv, Tk, d)
        out = attend(q, k, v, causal=True, mask=mask, backend=backend)
        return self.o_proj(out.transpose(1, 2).flatten(2))  # (B, T, D)


class DecoderLayer(nn.Module):
    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = DecoderAttention(config)
        if config.experts:
            self.mlp: nn.Module = SparseMLP(config.hidden_size, config.experts)
        else:
            self.mlp = SwiGLU(config.hidden_size, config.intermediate_size, bias=False)

    def forward(self, x: Tensor, *attention_args) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), *attention_args)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """Embeddings in, hidden states out; positions, mask and cache are arguments, never attributes."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.config = config
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.lm_head = None
        if not config.tie_word_embeddings:
            self.lm_head = Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        *,
        cache: KVCache | None = None,
        mask: Tensor | Branches | None = None,
        deepstack: DeepStack | None = None,
        backend: Backend = "sdpa",
        states: list[Tensor] | None = None,
    ) -> Tensor:
        """Run a chunk of tokens through all layers.

        Args:
            x: (B, T, D) embeddings, vision features already in place.
            positions: (3, B, T) M-RoPE ids (t, h, w) of the chunk.
            cache: keys and values of earlier tokens; the chunk is appended to it.
            mask: bool (B, 1, T, Tk), True where a token may look, or a layout of branches; None: causal.
            deepstack: taps of the vision tokens in this chunk.
            states: a list to add what each layer gives out to, (B, T, D) each.

        Returns:
            (B, T, D) after the final norm.
        """
        rope = self.rope(positions)
        for index, layer in enumerate(self.layers):
            x = layer(x, rope, index, cache, mask, backend)
            if deepstack is not None and index < len(deepstack.taps):
                x = _add_rows(x, deepstack.rows, deepstack.taps[index])
            if states is not None:
                states.append(x)
        if cache is not None:
            cache.advance(x.shape[1])
        return self.norm(x)

    def rope(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin, each (B, 1, T, d), for (3, B, T) position ids."""
        return mrope_table(positions, *_rotary(self.config, positions.device))

    def logits(self, hidden: Tensor) -> Tensor:
        """(N, D) hidden states → (N, vocabulary). Two-dimensional on purpose: the fast product on CPUs."""
        if self.lm_head is None:
            return linear(hidden, self.embed_tokens.weight)
        return self.lm_head(hidden)


@lru_cache(maxsize=8)  # a token would spend longer on making them than on using them
@torch.inference_mode(False)  # training may use them too
def _rotary(config: DecoderConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """Frequencies and axes for `mrope_table`."""
    frequencies = inverse_frequencies(config.head_dim, config.rope_theta, device)
    return frequencies, mrope_axes(config.mrope_section, config.mrope_interleaved).to(device)


def _add_rows(x: Tensor, rows: Tensor, values: Tensor) -> Tensor:
    return x.flatten(0, 1).index_add(0, rows, values.to(x.dtype)).view_as(x)
