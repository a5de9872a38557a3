"""Models at the official sizes with random weights: as fast and as large as the real ones."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from vlm.families.base import Files
from vlm.families.checkpoint import find_family, open_config
from vlm.families.naming import read_files
from vlm.inputs.tokenizer import Tokenizer
from vlm.models.model import VisionLanguageModel

BLOCK = 2**22 - 3  # prime to the widths, so that rows differ


def random_model(
    name: str,
    *,
    layers: int | None = None,
    device: str = "cpu",
    dtype: torch.dtype = torch.bfloat16,
    seed: int = 0,
) -> tuple[VisionLanguageModel, Tokenizer]:
    """A preset's model with normal weights (deviation 0.02), and a tokenizer that it can be asked with.

    The embedded model's tokenizer stands in: its ids are all inside the larger vocabularies.

    Args:
        layers: keep only so many blocks of the tower and layers of the decoder.
    """
    files = preset_config(name, layers)
    config = find_family(files).read(Files(files, {}, {}, {}))
    embedded, tokenizer = open_config("tiny")
    config = replace(config, tokens=replace(embedded.tokens, eos=(), frame_timestamps=False))
    with torch.device("meta"):
        model = VisionLanguageModel(config).to(dtype)
    model.to_empty(device=device)
    torch.manual_seed(seed)
    block = 0.02 * torch.randn(BLOCK, device=device)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            _fill(parameter.data, block)
        else:
            parameter.data.fill_(1.0)
    return model.requires_grad_(False).eval(), tokenizer


def _fill(weight: Tensor, block: Tensor) -> None:
    """One block again and again, each row times its own factor: drawing a number for each takes a minute."""
    flat = weight.view(-1)
    for start in range(0, len(flat), BLOCK):
        flat[start : start + BLOCK] = block[: len(flat) - start]
    weight.mul_(torch.empty(len(weight), *[1] * (weight.dim() - 1), device=weight.device).uniform_(0.7, 1.3))


def preset_config(name: str, layers: int | None = None) -> dict:
    """A preset's config.json, cut to so many blocks of the tower and layers of the decoder."""
    config = read_files(name).config
    if layers is None:
        return config
    text, vision = dict(config.get("text_config") or config), dict(config["vision_config"])
    text["num_hidden_layers"] = min(layers, text["num_hidden_layers"])
    depth = vision["depth"] = min(layers, vision["depth"])
    if "deepstack_visual_indexes" in vision:
        vision["deepstack_visual_indexes"] = list(range(min(depth, len(vision["deepstack_visual_indexes"]))))
    if "fullatt_block_indexes" in vision:  # as many of the blocks as in the whole tower: one in eight
        vision["fullatt_block_indexes"] = list(range(7, depth, 8)) if depth >= 8 else [depth - 1]
    if "text_config" in config:
        return config | {"text_config": text, "vision_config": vision}
    return text | {"vision_config": vision}
