"""What can be said before any weights are loaded: of files, and of the model itself."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Items
from pathlib import Path

import numpy as np

from vlm.config import ModelConfig
from vlm.inputs.media import MediaOptions, Medium, open_media
from vlm.inputs.sequence import build_sequence, user_message
from vlm.inputs.tokenizer import Tokenizer
from vlm.lens.architecture import Node
from vlm.models.model import VisionLanguageModel
from vlm.records import InputError, Patches, Sequence
from vlm.weights.choose import quantised_bytes


def inspect_media(
    files: Items[Path],
    name: str,
    config: ModelConfig,
    tokenizer: Tokenizer | None,
    prompt: str,
    options: MediaOptions,
    open_media: Callable[[str | Path], Medium] = open_media,
) -> tuple[dict, Sequence | None]:
    """The report of ``python -m vlm inspect`` and, where a tokenizer is at hand, the sequence.

    Keys: model, family, media (a list of `medium_report`), text_tokens, vision_tokens, special_tokens,
    sequence_length, context_length, rope_delta, notes. Counts that need a tokenizer are None without one.
    """
    media = [open_media(file).patches(config.pixels, options) for file in files]
    sequence = None
    if tokenizer:
        sequence = build_sequence([user_message(prompt, media)], media, tokenizer, config.tokens)
    report = {
        "model": name,
        "family": config.family,
        "media": [medium_report(file, patches) for file, patches in zip(files, media, strict=True)],
        "text_tokens": sequence.count("text") if sequence else None,
        "vision_tokens": sum(patches.tokens for patches in media),
        "special_tokens": sequence.count("special") if sequence else None,
        "sequence_length": len(sequence) if sequence else None,
        "context_length": config.decoder.context_length,
        "rope_delta": sequence.rope_delta if sequence else None,
        "notes": [] if tokenizer else [f"text is not counted: no tokenizer at hand for {name}"],
    }
    return report, sequence


def medium_report(file: Path, patches: Patches) -> dict:
    """One entry of ``media``; sizes in pixels, times in seconds."""
    return {
        "file": file.name,
        "kind": patches.kind,
        "width": patches.width,
        "height": patches.height,
        "resized_width": patches.resized.shape[2],
        "resized_height": patches.resized.shape[1],
        "grid_thw": list(patches.grid_thw),
        "patches": patches.patch_count,
        "tokens": patches.tokens,
        "frames": len(patches.resized),
        "timestamps_s": [round(second, 3) for second in patches.frame_timestamps],
        "notes": list(patches.notes),
    }


def write_positions(sequence: Sequence | None, path: Path) -> None:
    """Write ``input_ids`` (T,) and ``position_ids`` (3, T) as a compressed .npz."""
    if sequence is None:
        raise InputError("positions need the model's tokenizer: give a folder that holds one")
    np.savez_compressed(path, input_ids=sequence.ids.numpy(), position_ids=sequence.positions.numpy())


def model_row(name: str, model: VisionLanguageModel) -> dict:
    """One line of ``python -m vlm models``; sizes in bytes.

    In 4 bits only the decoder's matrices shrink; tower, connector, embeddings and head stay bfloat16.
    """
    parameters = model.parameter_count
    return {
        "name": name,
        "family": model.config.family,
        "parameters": parameters,
        "context_length": model.config.decoder.context_length,
        "bf16_bytes": 2 * parameters,
        "nf4_bytes": quantised_bytes(model, "nf4"),
    }


def tree_lines(node: Node, depth: int = 0) -> list[str]:
    """The module tree, a line each: name, class, parameters, own shapes; like layers are folded."""
    own = ", ".join(f"{key} {shape}" for key, shape in node.shapes)
    line = f"{'  ' * depth}{node.name}: {node.kind} {node.parameters:,}{'  ' + own if own else ''}"
    return [line, *(line for child in node.children for line in tree_lines(child, depth + 1))]
