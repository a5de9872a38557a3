"""The same model in transformers: its own class around our weights, in the very same memory."""

from __future__ import annotations

import torch
from torch import nn

from vlm.bench.models import preset_config
from vlm.families.checkpoint import find_family, patch_shape
from vlm.models.model import VisionLanguageModel
from vlm.weights.load import PATCH_EMBED, key_table


def reference_model(
    model: VisionLanguageModel, name: str, layers: int | None = None, attention: str = "sdpa"
) -> nn.Module:
    """transformers' model of the preset ``name`` with the parameters of ``model`` itself, not copies."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    config = preset_config(name, layers)
    official = AutoConfig.for_model(**config)
    with torch.device("meta"):
        reference = AutoModelForImageTextToText.from_config(official, attn_implementation=attention)
    table = key_table(model, find_family(config).layouts[-1])
    for ours, theirs in table.items():
        weight = model.get_parameter(ours).detach()
        if ours == PATCH_EMBED:
            weight = weight.view(len(weight), *patch_shape(model.config))
        owner, _, leaf = theirs.rpartition(".")
        reference.get_submodule(owner).register_parameter(
            leaf, nn.Parameter(weight)
        )  # as from_pretrained leaves it
    if model.decoder.lm_head is None:
        reference.tie_weights()
    _fill_buffers(reference)
    return reference.to(model.device).eval()


def _fill_buffers(reference: nn.Module) -> None:
    """Rotary frequencies belong to no checkpoint: each module that has some is made anew."""
    for name, module in list(reference.named_modules()):
        if any(buffer.is_meta for buffer in module._buffers.values() if buffer is not None):
            reference.set_submodule(name, type(module)(module.config))
