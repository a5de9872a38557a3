"""bfloat16 weights with float32 masters: Muon for the matrices inside blocks, AdamW for the rest."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn


class MasterOptimiser:
    """Steps float32 copies of the parameters and writes them back in the model's dtype.

    Args:
        modules: name → module; a name's learning rate is its entry in ``rates`` times the schedule.
        rates: stage name → peak learning rate, on AdamW's scale for both optimisers.
        muon: False steps everything by AdamW, as is usual for fine-tuning.
    """

    def __init__(
        self,
        modules: dict[str, nn.Module],
        rates: dict[str, float],
        weight_decay: float = 0.05,
        muon: bool = True,
    ):
        if muon and not hasattr(torch.optim, "Muon"):
            raise RuntimeError("training needs torch 2.9 or newer (torch.optim.Muon)")
        self.pairs: list[tuple[nn.Parameter, Tensor]] = []
        matrices, others = [], []
        for stage, module in modules.items():
            for name, parameter in module.named_parameters():
                if not parameter.requires_grad:
                    continue
                master = parameter.detach().float().clone()
                self.pairs.append((parameter, master))
                rate = rates[stage] * (0.25 if "patch_embed" in name else 1.0)
                kind = matrices if muon and _is_hidden_matrix(name, parameter) else others
                kind.append({"params": [master], "lr": rate, "peak": rate})
        self.optimisers = [torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0)]
        if matrices:
            muon = torch.optim.Muon(matrices, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
            self.optimisers.append(muon)

    def step(self, schedule: float, clip: float = 1.0) -> float:
        """One update at ``schedule`` (0 … 1) of the peak rates; returns the gradient's norm."""
        for parameter, master in self.pairs:
            master.grad = torch.zeros_like(master) if parameter.grad is None else parameter.grad.float()
            parameter.grad = None
        _average_gradients([master.grad for _, master in self.pairs])
        norm = nn.utils.clip_grad_norm_([master for _, master in self.pairs], clip)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * schedule
            optimiser.step()
        with torch.no_grad():
            for parameter, master in self.pairs:
                parameter.copy_(master)
        return float(norm)

    def state_dict(self) -> dict:
        return {
            "masters": [master for _, master in self.pairs],
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }

    def load_state_dict(self, state: dict) -> None:
        with torch.no_grad():
            for (parameter, master), saved in zip(self.pairs, state["masters"], strict=True):
                master.copy_(saved)
                parameter.copy_(master)
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            peaks = [group["peak"] for group in optimiser.param_groups]
            optimiser.load_state_dict(saved)
            for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                group["peak"] = peak  # a resumed run may choose other rates


def _is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    return parameter.dim() == 2 and not any(part in name for part in ("embed", "head"))


def _average_gradients(gradients: list[Tensor]) -> None:
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()
