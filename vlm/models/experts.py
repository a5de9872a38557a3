"""Mixture-of-experts MLP of the Qwen3-VL A3B / A22B decoders."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlm.config import ExpertsConfig
from vlm.models.linear import Linear, linear


class SparseMLP(nn.Module):
    """Each token goes through its top-k experts, weighted by the router's probabilities.

    ``gate_up_proj`` (E, 2 * I, D) and ``down_proj`` (E, D, I) hold all experts, output before input axis.
    """

    def __init__(self, width: int, config: ExpertsConfig):
        super().__init__()
        self.config = config
        self.gate = Linear(width, config.num_experts, bias=False)
        self.gate_up_proj = nn.Parameter(torch.empty(config.num_experts, 2 * config.intermediate_size, width))
        self.down_proj = nn.Parameter(torch.empty(config.num_experts, width, config.intermediate_size))

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(0, -2)  # (N, D)
        weights = self.gate(tokens).softmax(-1, dtype=torch.float32)  # (N, E)
        weights, chosen = weights.topk(self.config.num_experts_per_tok)  # (N, k)
        if self.config.norm_topk_prob:
            weights = weights / weights.sum(-1, keepdim=True)
        out = torch.zeros_like(tokens)
        for expert in chosen.unique().tolist():
            rows, slot = torch.where(chosen == expert)
            share = weights[rows, slot, None].to(x.dtype)
            out.index_add_(0, rows, self._expert(expert, tokens[rows]) * share)
        return out.view_as(x)

    def _expert(self, index: int, x: Tensor) -> Tensor:
        gate, up = linear(x, self.gate_up_proj[index]).chunk(2, dim=-1)
        return linear(F.silu(gate) * up, self.down_proj[index])
