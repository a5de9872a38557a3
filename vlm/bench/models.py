"""Models at the official sizes with random weights: as fast and as large as the real ones."""

from __future__ import annotations

from dataclasses import replace

import torch

from vlm.config import ModelConfig
from vlm.families.checkpoint import open_config
from vlm.inputs.tokenizer import Tokenizer
from vlm.models.model import VisionLanguageModel


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
    config, _ = open_config(name)
    embedded, tokenizer = open_config("tiny")
    config = replace(config, tokens=replace(embedded.tokens, eos=(), frame_timestamps=False))
    if layers is not None:
        config = _shallow(config, layers)
    with torch.device("meta"):
        model = VisionLanguageModel(config).to(dtype)
    model.to_empty(device=device)
    torch.manual_seed(seed)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(std=0.02)
        else:
            parameter.data.fill_(1.0)
    return model.requires_grad_(False).eval(), tokenizer


def _shallow(config: ModelConfig, layers: int) -> ModelConfig:
    vision, decoder = config.vision, config.decoder
    depth = min(layers, vision.depth)
    taps = tuple(range(min(depth, len(vision.deepstack_indexes))))
    full = tuple(index for index in vision.full_attention_blocks if index < depth)
    return replace(
        config,
        vision=replace(vision, depth=depth, deepstack_indexes=taps, full_attention_blocks=full),
        decoder=replace(decoder, num_layers=min(layers, decoder.num_layers)),
    )
