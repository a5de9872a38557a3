"""A fresh embedded model: its configs, its own tokenizer and random weights in the official layout."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn

from vlm.families.base import Checkpoint
from vlm.families.checkpoint import find_family, read_files, save_checkpoint
from vlm.inputs.tokenizer import Tokenizer as OurTokenizer
from vlm.models.model import VisionLanguageModel
from vlm.train.questions import corpus

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
VOCABULARY = 1_280
# Words with their leading space; capitals in a row, digits and Han characters one by one, so that text
# in a picture is spelled out and a number is a row of digits.
_PIECES = r" ?\p{Lu}?\p{Ll}+| ?\p{Lu}|\p{L}|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

CHAT_TEMPLATE = """\
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

_TEXT = {
    "model_type": "qwen3_vl_text",
    "hidden_size": 192,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "intermediate_size": 448,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "max_position_embeddings": 4096,
    "rope_theta": 10000.0,
    "rope_scaling": {"rope_type": "default", "mrope_interleaved": True, "mrope_section": [6, 5, 5]},
    "initializer_range": 0.02,
}
_VISION = {
    "model_type": "qwen3_vl",
    "depth": 6,
    "hidden_size": 128,
    "num_heads": 4,
    "intermediate_size": 384,
    "out_hidden_size": 192,
    "in_channels": 3,
    "patch_size": 16,
    "temporal_patch_size": 2,
    "spatial_merge_size": 2,
    "num_position_embeddings": 256,
    "deepstack_visual_indexes": [2],
    "hidden_act": "gelu_pytorch_tanh",
    "initializer_range": 0.02,
}
_HALF = [0.5, 0.5, 0.5]
# Pictures of 24 to 36 merged cells: the range that the scenes are drawn in.
_IMAGES = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen3VLProcessor",
    "size": {"shortest_edge": 24 * 1024, "longest_edge": 36 * 1024},
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": _HALF,
    "image_std": _HALF,
}
_VIDEOS = {
    **_IMAGES,
    "video_processor_type": "Qwen3VLVideoProcessor",
    "size": {"shortest_edge": 4 * 16 * 1024, "longest_edge": 8 * 16 * 1024},
    "fps": 2,
    "min_frames": 4,
    "max_frames": 8,
}
del _VIDEOS["image_processor_type"]


def make_tiny(folder: Path, seed: int = 0) -> Checkpoint:
    """Write an untrained embedded model to ``folder`` and open it (float32)."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(corpus(seed, 30_000))
    tokenizer.save(str(folder / "tokenizer.json"))
    for name, content in _json_files(tokenizer).items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    files = read_files(folder)
    config = find_family(files.config).read(files)
    torch.manual_seed(seed)
    model = VisionLanguageModel(config)
    initialise(model)
    checkpoint = Checkpoint("tiny", folder, config, model, OurTokenizer(folder))
    save_checkpoint(checkpoint, folder)
    return checkpoint


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Byte-level BPE over ``texts``: any input can be written, nothing is unknown."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    roles = ["user\n", "assistant\n", "system\n", "<1.2 seconds>"] * 1000
    tokenizer.train_from_iterator([*texts, *roles], trainer)
    return tokenizer


_RESIDUAL = (".proj.weight", ".o_proj.weight", ".down_proj.weight", ".fc2.weight")


def initialise(model: VisionLanguageModel) -> None:
    """Small normal weights; residual outputs start at zero; positions start as a 2-D sine table.

    A learned table that starts near zero drowned in the patch projection: the model could not tell
    where things were.
    """
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2:
            continue
        if name.endswith(_RESIDUAL) and ".merger" not in name and "tap_mergers" not in name:
            nn.init.zeros_(parameter)
        elif "embed_tokens" in name:
            nn.init.normal_(parameter, std=0.02)
        else:
            nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    with torch.no_grad():
        table = model.tower.pos_embed.weight
        table.copy_(0.5 * sine_table(int(len(table) ** 0.5), table.shape[1]))


def sine_table(side: int, width: int) -> torch.Tensor:
    """(side², width) sines and cosines of row and column, a quarter of the width each."""
    frequencies = torch.pi * torch.linspace(0.25, side / 4, width // 4)
    place = torch.linspace(0, 1, side)[:, None] * frequencies  # (side, width / 4)
    waves = torch.cat((place.sin(), place.cos()), dim=1)  # (side, width / 2)
    rows = waves[:, None].expand(side, side, -1)
    return torch.cat((rows, rows.transpose(0, 1)), dim=-1).reshape(side * side, width)


def _json_files(tokenizer: Tokenizer) -> dict[str, dict]:
    ids = {token: tokenizer.token_to_id(token) for token in SPECIAL}
    config = {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "model_type": "qwen3_vl",
        "dtype": "bfloat16",
        "tie_word_embeddings": True,
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "text_config": {
            **_TEXT,
            "vocab_size": tokenizer.get_vocab_size(),
            "eos_token_id": ids["<|im_end|>"],
            "tie_word_embeddings": True,
        },
        "vision_config": _VISION,
    }
    return {
        "config.json": config,
        "preprocessor_config.json": _IMAGES,
        "video_preprocessor_config.json": _VIDEOS,
        "generation_config.json": {
            "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]],
            "pad_token_id": ids["<|endoftext|>"],
            "do_sample": False,
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "model_max_length": _TEXT["max_position_embeddings"],
            "clean_up_tokenization_spaces": False,
        },
    }
