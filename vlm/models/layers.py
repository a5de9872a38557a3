"""Small layers that the tower and the decoder share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlm.models.linear import Linear, linear_gelu_tanh, pieces
from vlm.native import rows


class Embedding(nn.Embedding):
    """`nn.Embedding`, but on the meta device nothing is drawn: PyTorch would import its compiler for it."""

    def reset_parameters(self) -> None:
        if not self.weight.is_meta:
            super().reset_parameters()


class RMSNorm(nn.Module):
    """Root-mean-square norm; statistics in float32, as the reference does."""

    def __init__(self, width: int, eps: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if (out := rows.rms_norm(x, self.weight, self.eps)) is not None:
            return out
        x32 = x.float()
        norm = torch.linalg.vector_norm(x32, dim=-1, keepdim=True)  # one pass where squares and mean take two
        scale = torch.rsqrt(norm * norm / x.shape[-1] + self.eps)
        return self.weight * (x32 * scale).to(x.dtype)


def silu_times(gate: Tensor, up: Tensor) -> Tensor:
    out = rows.silu_times(gate, up)
    return F.silu(gate) * up if out is None else out


def make_norm(kind: str, width: int) -> nn.Module:
    return RMSNorm(width) if kind == "rms" else nn.LayerNorm(width, eps=1e-6)


def quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


class MLP(nn.Module):
    """Two-layer MLP: ``fc2(act(fc1(x)))``."""

    def __init__(self, width: int, hidden: int, act):
        super().__init__()
        self.fc1, self.fc2 = Linear(width, hidden), Linear(hidden, width)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        if self.act is gelu_tanh and type(self.fc1) is Linear:  # an adapter around it adds before the act
            return self.fc2(linear_gelu_tanh(x, self.fc1.weight, self.fc1.bias))
        return self.fc2(self.act(self.fc1(x)))


class SwiGLU(nn.Module):
    """Gated MLP: ``down_proj(silu(gate_proj(x)) * up_proj(x))``."""

    def __init__(self, width: int, hidden: int, bias: bool):
        super().__init__()
        self.gate_proj = Linear(width, hidden, bias)
        self.up_proj = Linear(width, hidden, bias)
        self.down_proj = Linear(hidden, width, bias)

    def forward(self, x: Tensor) -> Tensor:
        # What stands in for a plain layer may have work of its own for each call: it gets all rows at once.
        cut = pieces(x) if type(self.gate_proj) is Linear else (x,)
        parts = [self.down_proj(silu_times(self.gate_proj(part), self.up_proj(part))) for part in cut]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-2)


def make_vision_mlp(kind: str, width: int, hidden: int) -> nn.Module:
    if kind == "swiglu":
        return SwiGLU(width, hidden, bias=True)
    return MLP(width, hidden, {"quick_gelu": quick_gelu, "gelu_tanh": gelu_tanh}[kind])
