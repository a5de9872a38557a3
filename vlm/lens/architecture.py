"""The loaded model as a diagram: stages with parameters and memory, and one turn's shapes between them."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Items
from dataclasses import dataclass

import torch
from torch import nn

from vlm.config import ModelConfig
from vlm.models.model import VisionLanguageModel
from vlm.records import Sequence


@dataclass(frozen=True)
class Edge:
    """What flows from one stage to the next: a name, a shape with its letters, and what it is in words."""

    name: str
    shape: tuple[int, ...]
    letters: str
    meaning: str


@dataclass(frozen=True)
class Node:
    """A module of the tree; ``shapes`` are those of its own parameters."""

    name: str
    kind: str
    parameters: int
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    children: tuple[Node, ...]


@dataclass(frozen=True)
class Stage:
    """A box of the diagram. ``parameters`` are counted as written down, ``nbytes`` as they are kept."""

    name: str
    meaning: str
    out: tuple[Edge, ...]
    parameters: int = 0
    nbytes: int = 0
    tree: tuple[Node, ...] = ()


def stages(model: VisionLanguageModel, sequence: Sequence, prompt: int | None = None) -> list[Stage]:
    """The way from files to the next word, with the shapes that one turn had on it.

    Args:
        sequence: the turn, answer included. prompt: how many of its tokens were the prompt; all but the
            last answer where not given.
    """
    if prompt is None:
        last = sequence.spans[-1]
        prompt = last.start if last.kind == "answer" else len(sequence)
    with torch.device("meta"):
        drawn = VisionLanguageModel(model.config)  # quantised or packed weights have lost their shapes
    ours, plan, media = model.decoder, drawn.decoder, sequence.media
    frames, patches, tokens = _of_media(model.config, sequence)
    return [
        Stage("Files", "Decoded to frames, upright, in RGB.", frames),
        Stage("Patches", "Resized, normalised, cut into squares.", patches),
        *(_seeing(model, drawn, sequence, tokens) if media else []),
        Stage(
            "Embedding",
            "Every token id becomes a vector; vision tokens take the connector's.",
            (
                Edge("sequence", (prompt, model.config.decoder.hidden_size), "T × D", "the whole prompt"),
                Edge("positions", (3, prompt), "3 × T", "time, height and width of each token (M-RoPE)"),
            ),
            **_weight([ours.embed_tokens], [plan.embed_tokens]),
        ),
        Stage(
            "Decoder",
            _decoder_words(model.config),
            _deciding(model, sequence),
            **_weight([ours.layers], [plan.layers]),
        ),
        Stage(
            "Head",
            "Final norm, then a score for every word of the vocabulary."
            + ("" if plan.lm_head else " Its matrix is the embedding's (tied)."),
            (
                Edge(
                    "scores",
                    (model.config.decoder.vocab_size,),
                    "words",
                    "for the next token, again and again",
                ),
            ),
            **_weight(*([part for part in (side.norm, side.lm_head) if part] for side in (ours, plan))),
        ),
    ]


def _of_media(config: ModelConfig, sequence: Sequence) -> tuple[tuple[Edge, ...], tuple[Edge, ...], int]:
    frames, patches = [], []
    for medium in sequence.media:
        shape = (len(medium.resized), medium.height, medium.width, 3)
        frames.append(Edge(medium.name, shape, "F × H × W × 3", "as it came"))
        seen = "×".join(map(str, medium.resized.shape[2:0:-1]))
        grid = " × ".join(map(str, medium.grid_thw))
        cut = (medium.patch_count, config.vision.patch_dim)
        patches.append(Edge(medium.name, cut, "P × values", f"seen at {seen} px, cut {grid} (t × h × w)"))
    return tuple(frames), tuple(patches), sum(medium.tokens for medium in sequence.media)


def _seeing(
    model: VisionLanguageModel, drawn: VisionLanguageModel, sequence: Sequence, tokens: int
) -> list[Stage]:
    vision = model.config.vision
    count = sum(medium.patch_count for medium in sequence.media)
    taps = [
        Edge(f"tap {level + 1}", (count, vision.hidden_size), "P × D", f"after block {block + 1}")
        for level, block in enumerate(vision.deepstack_indexes)
    ]
    merged = [
        Edge(f"tap {level + 1}", (tokens, vision.out_hidden_size), "V × D", f"added after layer {level + 1}")
        for level in range(len(taps))
    ]
    tower = Edge("features", (count, vision.hidden_size), "P × D", "one vector a patch")
    token = Edge("vision tokens", (tokens, vision.out_hidden_size), "V × D", "one vector a cell")
    merge = vision.spatial_merge_size
    return [
        Stage("Tower", _tower_words(model.config), (tower, *taps), **_weight([model.tower], [drawn.tower])),
        Stage(
            "Connector",
            f"Merges {merge} × {merge} patches into a cell of the decoder's width.",
            (token, *merged),
            **_weight([model.connector], [drawn.connector]),
        ),
    ]


def _deciding(model: VisionLanguageModel, sequence: Sequence) -> tuple[Edge, ...]:
    c = model.config.decoder
    cached = (c.num_layers, 2, c.num_kv_heads, len(sequence), c.head_dim)
    size = c.cache_bytes(len(sequence), model.dtype.itemsize) / 2**20
    return (
        Edge("hidden state", (c.hidden_size,), "D", "of the last token"),
        Edge("cache", cached, "layers × 2 × heads × T × d", f"keys and values, {size:,.1f} MiB"),
    )


def _tower_words(config: ModelConfig) -> str:
    vision = config.vision
    words = f"{vision.depth} blocks, {vision.num_heads} heads of {vision.head_dim}"
    if vision.window_size:
        full = ", ".join(str(block + 1) for block in vision.full_attention_blocks)
        return f"{words}; attention in windows of {vision.window_size} px, whole frames in blocks {full}."
    return f"{words}; attention inside each frame."


def _decoder_words(config: ModelConfig) -> str:
    c = config.decoder
    words = f"{c.num_layers} layers, {c.num_heads} query heads on {c.num_kv_heads} key heads of {c.head_dim}"
    if c.experts:
        words += f"; {c.experts.num_experts_per_tok} of {c.experts.num_experts} experts a token"
    return words + "."


def _weight(live: Items[nn.Module], drawn: Items[nn.Module]) -> dict:
    """Fields of a stage: its parameters as they are drawn, its bytes as they are kept."""
    tensors = [tensor for module in live for tensor in (*module.parameters(), *module.buffers())]
    return {
        "parameters": sum(map(_count, drawn)),
        "nbytes": sum(tensor.nbytes for tensor in tensors),
        "tree": tuple(module_tree(module, type(module).__name__) for module in drawn),
    }


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def module_tree(module: nn.Module, name: str = "model") -> Node:
    """A module with everything inside; runs of like layers are one node."""
    children = list(module.named_children())
    if isinstance(module, nn.ModuleList) and len(children) > 1:
        children = [(f"0 … {len(children) - 1}, each", children[0][1])]
    shapes = tuple((key, tuple(p.shape)) for key, p in module.named_parameters(recurse=False))
    return Node(
        name,
        type(module).__name__,
        _count(module),
        shapes,
        tuple(module_tree(child, key) for key, child in children),
    )


def differences(configs: Mapping[str, ModelConfig]) -> list[tuple[str, dict[str, str], bool]]:
    """What the families do differently: (aspect, name → value, whether the values differ)."""
    rows = []
    for aspect, describe in _ASPECTS.items():
        values = {name: describe(config) for name, config in configs.items()}
        rows.append((aspect, values, len(set(values.values())) > 1))
    return rows


def _windows(config: ModelConfig) -> str:
    vision = config.vision
    if not vision.window_size:
        return "none: the whole frame"
    cells = vision.window_size // vision.patch_size // vision.spatial_merge_size
    return f"{cells} × {cells} cells, but in {len(vision.full_attention_blocks)} of {vision.depth} blocks"


def _vision_positions(config: ModelConfig) -> str:
    table = config.vision.num_position_embeddings
    if not table:
        return "rotary in two axes"
    side = int(table**0.5)
    return f"rotary in two axes, and a learned {side} × {side} table"


def _mrope(config: ModelConfig) -> str:
    section = ", ".join(map(str, config.decoder.mrope_section))
    return f"{'interleaved' if config.decoder.mrope_interleaved else 'in blocks'} [{section}]"


def _video_time(config: ModelConfig) -> str:
    if config.tokens.frame_timestamps:
        return "written out as text before each frame pair"
    if config.tokens.seconds_to_ids:
        return f"{config.tokens.seconds_to_ids:g} ids a second"
    return "one id a frame pair"


def _deepstack(config: ModelConfig) -> str:
    blocks = config.vision.deepstack_indexes
    if not blocks:
        return "none"
    after = ", ".join(str(block + 1) for block in blocks)
    if len(blocks) == 1:
        return f"tower block {after} feeds the first decoder layer"
    return f"tower blocks {after} feed the first {len(blocks)} decoder layers"


def _decoder_attention(config: ModelConfig) -> str:
    c = config.decoder
    parts = ["q, k, v with bias" if c.qkv_bias else "no bias"]
    parts += ["q and k normalised in each head"] if c.qk_norm else []
    return ", ".join(parts)


def _decoder_mlp(config: ModelConfig) -> str:
    e = config.decoder.experts
    return "SwiGLU" if not e else f"{e.num_experts} experts, {e.num_experts_per_tok} a token"


_NORMS = {"layer": "LayerNorm", "rms": "RMSNorm"}
_MLPS = {
    "quick_gelu": "two layers, quick GELU", "gelu_tanh": "two layers, GELU (tanh)",
    "swiglu": "gated, three matrices (SwiGLU)",
}  # fmt: skip
_ASPECTS = {
    "Patch": lambda c: f"{c.vision.patch_size} px{', with bias' if c.vision.patch_bias else ', no bias'}",
    "Cell, one token": lambda c: f"{c.pixels.factor} × {c.pixels.factor} px",
    "Tower norm": lambda c: _NORMS[c.vision.norm],
    "Tower MLP": lambda c: _MLPS[c.vision.mlp],
    "Tower windows": _windows,
    "Tower positions": _vision_positions,
    "DeepStack": _deepstack,
    "Decoder attention": _decoder_attention,
    "Decoder MLP": _decoder_mlp,
    "M-RoPE layout": _mrope,
    "Rotary base": lambda c: f"{c.decoder.rope_theta:,.0f}",
    "Time of a clip": _video_time,
    "Boxes in answers": lambda c: "thousandths" if c.box_scale else "pixels of the resized picture",
    "Context": lambda c: f"{c.decoder.context_length:,} tokens",
    "Output matrix": lambda c: "the embedding's (tied)" if c.decoder.tie_word_embeddings else "its own",
}
