"""Small random checkpoints written by transformers, opened once by it and once by us.

Real proportions, small sizes: fewer key heads than query heads, towers with several blocks, windows
smaller than the pictures, two DeepStack taps. Weights and biases are large, so that a wrong bias, norm
or position moves the logits by much more than float32 rounding.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import transformers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as BPE
from torch import nn
from transformers import AutoTokenizer, Qwen2VLImageProcessorPil

from vlm.families.base import Checkpoint
from vlm.families.checkpoint import open_checkpoint

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
VOCABULARY = 300  # 256 bytes, the special tokens and a few merges
_CORPUS = ["user\nassistant\nsystem\nYou are a helpful assistant. What is in the picture? seconds"] * 9

_MESSAGES = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}
{%- for part in message.content %}
{%- if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>
{%- elif part.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>
{%- elif part.type == 'text' %}{{ part.text }}{% endif %}
{%- endfor %}{% endif %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""
# Qwen2-VL and 2.5 write a system prompt where the person gave none; Qwen3-VL does not.
_DEFAULT_SYSTEM = """\
{%- if messages[0].role != 'system' -%}
<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif -%}
"""

_TEXT = {
    "vocab_size": VOCABULARY,
    "intermediate_size": 112,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
}
_TEXT2 = _TEXT | {
    "hidden_size": 96,
    "rope_theta": 1e4,
    "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
}
_TEXT3 = _TEXT | {
    "hidden_size": 80,
    "head_dim": 32,  # 6 heads of 32 are 192 wide, not 80
    "rope_theta": 1e4,
    "rope_scaling": {"rope_type": "default", "mrope_interleaved": True, "mrope_section": [6, 5, 5]},
}
_EXPERTS = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 56, "norm_topk_prob": True}
_VISION2 = {"depth": 3, "embed_dim": 48, "num_heads": 3, "hidden_size": 96, "mlp_ratio": 2, "patch_size": 14}
_VISION25 = {
    "depth": 4,
    "hidden_size": 48,
    "num_heads": 3,
    "intermediate_size": 80,
    "out_hidden_size": 96,
    "patch_size": 14,
    "window_size": 84,  # 3 × 3 merged cells
    "fullatt_block_indexes": [1, 3],
    "tokens_per_second": 2,
}
_VISION3 = {
    "depth": 4,
    "hidden_size": 48,
    "num_heads": 3,
    "intermediate_size": 80,
    "out_hidden_size": 80,
    "patch_size": 16,
    "num_position_embeddings": 36,
    "deepstack_visual_indexes": [0, 2],
}


@dataclass(frozen=True)
class Recipe:
    """What transformers needs to make one family's twin. ``name`` is the prefix of its classes."""

    name: str
    text: dict
    vision: dict
    tied: bool
    template: str

    @property
    def modern(self) -> bool:
        return self.name.startswith("Qwen3")


RECIPES = {
    "qwen2_vl": Recipe("Qwen2VL", _TEXT2, _VISION2, True, _DEFAULT_SYSTEM + _MESSAGES),
    "qwen2_5_vl": Recipe("Qwen2_5_VL", _TEXT2, _VISION25, False, _DEFAULT_SYSTEM + _MESSAGES),
    "qwen3_vl": Recipe("Qwen3VL", _TEXT3, _VISION3, True, _MESSAGES),
    "qwen3_vl_moe": Recipe("Qwen3VLMoe", _TEXT3 | _EXPERTS, _VISION3, False, _MESSAGES),
}


@dataclass(frozen=True)
class Twin:
    """One checkpoint folder, opened by transformers (``reference``) and by us (``ours``)."""

    family: str
    folder: Path
    reference: nn.Module
    ours: Checkpoint

    @property
    def recipe(self) -> Recipe:
        return RECIPES[self.family]

    @cached_property
    def tokenizer(self):
        return AutoTokenizer.from_pretrained(self.folder)

    @cached_property
    def image_processor(self) -> Qwen2VLImageProcessorPil:
        return Qwen2VLImageProcessorPil.from_pretrained(self.folder)


def make_twin(family: str, folder: Path, tied: bool | None = None) -> Twin:
    """Write a random checkpoint with transformers and open it twice, in float32."""
    recipe = RECIPES[family]
    tokenizer = train_tokenizer()
    reference = make_reference(recipe, tokenizer, recipe.tied if tied is None else tied)
    reference.save_pretrained(folder)
    write_side_files(folder, recipe, tokenizer)
    return Twin(family, folder, reference, open_checkpoint(folder, dtype=torch.float32))


def make_reference(recipe: Recipe, tokenizer: BPE, tied: bool) -> nn.Module:
    config = getattr(transformers, f"{recipe.name}Config")(
        text_config=dict(recipe.text),
        vision_config=dict(recipe.vision),
        tie_word_embeddings=tied,
        image_token_id=tokenizer.token_to_id("<|image_pad|>"),
        video_token_id=tokenizer.token_to_id("<|video_pad|>"),
        vision_start_token_id=tokenizer.token_to_id("<|vision_start|>"),
        vision_end_token_id=tokenizer.token_to_id("<|vision_end|>"),
    )
    torch.manual_seed(1)
    model = getattr(transformers, f"{recipe.name}ForConditionalGeneration")(config).eval()
    randomise(model)
    return model


@torch.no_grad()
def randomise(model: nn.Module) -> None:
    """Weights that keep the size of what goes through them; norms and biases far from 1 and 0."""
    for name, parameter in model.named_parameters():
        noise = torch.randn_like(parameter)
        if parameter.dim() == 1:
            parameter.copy_(0.3 * noise + (1.0 if name.endswith("weight") else 0.0))
        elif "embed" in name and parameter.dim() == 2:
            parameter.copy_(noise * (0.3 if "embed_tokens" in name else 1.0))
        else:
            parameter.copy_(noise * (1.5 / parameter[0].numel() ** 0.5 if parameter.dim() != 3 else 0.15))


def train_tokenizer() -> BPE:
    """Byte-level BPE: whatever a test writes can be read."""
    tokenizer = BPE(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    return tokenizer


def write_side_files(folder: Path, recipe: Recipe, tokenizer: BPE) -> None:
    """Tokenizer, template and processor configs, with pixel limits that keep the tests small."""
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(recipe.template)
    names = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"} | names)
    patch = recipe.vision["patch_size"]
    cell = (2 * patch) ** 2
    sizes = {"patch_size": patch, "temporal_patch_size": 2, "merge_size": 2}
    if recipe.modern:  # limits as Qwen3-VL's files write them, with a mean and deviation of 0.5
        half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
        images = sizes | half | {"size": {"shortest_edge": 4 * cell, "longest_edge": 40 * cell}}
        videos = sizes | half | {"size": {"shortest_edge": 8 * cell, "longest_edge": 60 * cell}}
        write_json(folder / "video_preprocessor_config.json", videos)
    else:
        images = sizes | {"min_pixels": 4 * cell, "max_pixels": 40 * cell}
    images["image_processor_type"] = "Qwen2VLImageProcessor"
    write_json(folder / "preprocessor_config.json", images)


def write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2))
