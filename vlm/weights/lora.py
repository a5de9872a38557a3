"""Low-rank adapters (arXiv 2106.09685) on chosen stages, by the peft library; merged before saving."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from vlm.records import InputError

if TYPE_CHECKING:
    from peft.tuners.lora import LoraModel

# The patch projection and the head are no attention or MLP products: adapters leave them as they are.
_LEFT_OUT = ("patch_embed", "lm_head")


def attach(model: nn.Module, rank: int, stages: list[str]) -> LoraModel:
    """Freeze the model and put adapters of this rank on every linear layer of some stages, in place.

    Args:
        stages: names of the model's children.

    Raises:
        InputError: peft is not installed, or no stage is left to train.
    """
    try:
        from peft import LoraConfig
        from peft.tuners.lora import LoraModel
    except ImportError as error:
        raise InputError("LoRA needs peft: python -m pip install -r requirements-train.txt") from error
    names = [
        name for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and name.split(".")[0] in stages
        and not any(part in name for part in _LEFT_OUT)
    ]  # fmt: skip
    if not names:
        raise InputError("every stage is frozen: give one of --tower, --connector, --decoder a rate above 0")
    return LoraModel(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=names), "default")
