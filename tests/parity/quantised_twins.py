"""The twins once more, their checkpoints quantised and saved by transformers."""

from __future__ import annotations

import torch
import transformers
from transformers import BitsAndBytesConfig
from twins import Twin, train_tokenizer, write_side_files

from vlm.families.checkpoint import open_checkpoint

FOUR = {"load_in_4bit": True, "bnb_4bit_compute_dtype": torch.float32}
SETTINGS = {
    "nf4": FOUR | {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    "fp4": FOUR | {"bnb_4bit_quant_type": "fp4", "llm_int8_skip_modules": ["model.visual", "lm_head"]},
    "int8": {"load_in_8bit": True, "llm_int8_skip_modules": ["model.visual", "lm_head"]},
}


def quantise(twin: Twin, mode: str, folder) -> Twin:
    kind = getattr(transformers, f"{twin.recipe.name}ForConditionalGeneration")
    settings = BitsAndBytesConfig(**SETTINGS[mode])
    reference = kind.from_pretrained(
        twin.folder, quantization_config=settings, dtype=torch.float32, device_map="cpu"
    ).eval()
    for module in reference.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # else it multiplies in bfloat16 on such CPUs
    reference.save_pretrained(folder)
    write_side_files(folder, twin.recipe, train_tokenizer())
    ours = open_checkpoint(folder, dtype=torch.float32, quantize="auto")
    return Twin(twin.family, folder, reference, ours)
