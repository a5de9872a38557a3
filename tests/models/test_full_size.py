"""All official sizes on the meta device: nothing is allocated, every name and shape is checked."""

from __future__ import annotations

import json

import pytest
import torch
import transformers

from vlm.families import FAMILIES
from vlm.families.base import Files
from vlm.families.naming import presets
from vlm.models.model import VisionLanguageModel
from vlm.weights.load import PATCH_EMBED, key_table

# Totals that the model pages publish (recalled, not fetched), but 2.5-VL-7B: half the bytes in its official
# index. The names and shapes below are checked against transformers itself.
PARAMETERS = {
    "qwen2-vl-2b": 2_208_985_600,
    "qwen2-vl-7b": 8_291_375_616,
    "qwen2-vl-72b": 73_405_560_320,
    "qwen2.5-vl-3b": 3_754_622_976,
    "qwen2.5-vl-7b": 16_584_333_312 // 2,
    "qwen2.5-vl-32b": 33_452_718_336,
    "qwen2.5-vl-72b": 73_410_777_344,
    "qwen3-vl-2b": 2_127_532_032,
    "qwen3-vl-4b": 4_437_815_808,
    "qwen3-vl-8b": 8_767_123_696,
    "qwen3-vl-32b": 33_357_390_064,
    "qwen3-vl-30b-a3b": 31_070_754_032,
}
ROUNDED = {"qwen3-vl-235b-a22b": 236}  # billions; no exact figure is at hand
CLASSES = {
    "qwen2_vl": "Qwen2VL",
    "qwen2_5_vl": "Qwen2_5_VL",
    "qwen3_vl": "Qwen3VL",
    "qwen3_vl_moe": "Qwen3VLMoe",
}


def _read(name: str) -> dict:
    return json.loads(presets()[name].read_text())


def _ours(config: dict) -> VisionLanguageModel:
    with torch.device("meta"):
        return VisionLanguageModel(FAMILIES[config["model_type"]].read(Files(config, {}, {}, {})))


def _official_shapes(model: VisionLanguageModel, config: dict) -> dict[str, tuple[int, ...]]:
    """Our parameters under the names that transformers has in memory."""
    layouts = FAMILIES[config["model_type"]].layouts
    table = key_table(model, layouts[-1])
    vision = model.config.vision
    cube = (vision.in_channels, vision.temporal_patch_size, vision.patch_size, vision.patch_size)
    shapes = {table[name]: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    shapes[table[PATCH_EMBED]] = (vision.hidden_size, *cube)
    return shapes


def test_every_preset_is_known():
    assert set(presets()) == {*PARAMETERS, *ROUNDED}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_total(name):
    assert sum(parameter.numel() for parameter in _ours(_read(name)).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", ROUNDED)
def test_rounded_total(name):
    total = sum(parameter.numel() for parameter in _ours(_read(name)).parameters())
    assert round(total / 1e9) == ROUNDED[name]


@pytest.mark.parametrize("name", [*PARAMETERS, *ROUNDED])
def test_names_and_shapes(name):
    config = _read(name)
    kind = CLASSES[config["model_type"]]
    official = getattr(transformers, f"{kind}Config").from_dict(config)
    with torch.device("meta"):
        reference = getattr(transformers, f"{kind}ForConditionalGeneration")(official)
    expected = {key: tuple(parameter.shape) for key, parameter in reference.named_parameters()}
    assert _official_shapes(_ours(config), config) == expected


def test_official_index_of_the_7b():
    """729 tensors under the hub's names."""
    model = _ours(_read("qwen2.5-vl-7b"))
    keys = set(key_table(model, FAMILIES["qwen2_5_vl"].layouts[0]).values())
    assert len(keys) == 729
    some = (
        "visual.blocks.31.attn.qkv.bias",
        "visual.merger.mlp.2.weight",
        "model.layers.27.mlp.up_proj.weight",
    )
    assert {*some, "visual.patch_embed.proj.weight", "lm_head.weight", "model.norm.weight"} <= keys


def test_recipes_of_the_table():
    """What differs between families, at full size."""
    old, windows, new = (
        _ours(_read(f"{name}")).config for name in ("qwen2-vl-7b", "qwen2.5-vl-7b", "qwen3-vl-8b")
    )
    assert (old.decoder.context_length, windows.decoder.context_length) == (32_768, 128_000)
    assert new.decoder.context_length == 262_144 and new.decoder.rope_theta == 5e6
    assert windows.vision.full_attention_blocks == (7, 15, 23, 31) and windows.vision.window_size == 112
    assert windows.tokens.seconds_to_ids == 2 and old.tokens.seconds_to_ids is None
    assert old.decoder.mrope_section == (16, 24, 24) and not old.decoder.mrope_interleaved
    assert new.decoder.mrope_section == (24, 20, 20) and new.decoder.mrope_interleaved
    assert (old.pixels.factor, new.pixels.factor) == (28, 32)
    assert (old.pixels.image_min_pixels, old.pixels.image_max_pixels) == (3_136, 12_845_056)
    assert (new.pixels.image_min_pixels, new.pixels.image_max_pixels) == (65_536, 16_777_216)
    assert (new.pixels.video_min_pixels, new.pixels.video_max_pixels) == (4_096, 25_165_824)
    assert new.vision.deepstack_indexes == (8, 16, 24) and new.pixels.image_mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("name", ["qwen2-vl-2b", "qwen2.5-vl-7b"])
def test_defaults_that_old_configs_leave_out(name):
    """transformers 4 wrote only what differs from its classes; the 3B of 2.5 was first published so."""
    config = _read(name)
    kept = ("hidden_size", "in_chans", "model_type", "out_hidden_size", "tokens_per_second")
    sparse = {key: value for key, value in config["vision_config"].items() if key in kept}
    assert _ours(config | {"vision_config": sparse}).config == _ours(config).config
