"""Checkpoints made to do harm: an error that says what is wrong, and nothing is allocated or run."""

from __future__ import annotations

import json
import shutil
import struct
import time
from pathlib import Path

import psutil
import pytest

from vlm.families import bounds, checkpoint
from vlm.families.checkpoint import open_checkpoint, open_config
from vlm.families.naming import TINY
from vlm.records import InputError
from vlm.weights.load import INDEX, SINGLE


@pytest.fixture
def folder(tmp_path) -> Path:
    return Path(shutil.copytree(TINY, tmp_path / "model"))


def change(folder: Path, value, *keys: str, file: str = "config.json") -> None:
    """Set one value of a JSON file; leave it out where ``value`` is ...; "a.b" goes down."""
    whole = json.loads((folder / file).read_text())
    part = whole
    for key in keys[:-1]:
        part = part[key]
    if value is ...:
        del part[keys[-1]]
    else:
        part[keys[-1]] = value
    (folder / file).write_text(json.dumps(whole))


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        (10**9, ("text_config", "num_hidden_layers")),
        (10**9, ("vision_config", "depth")),
        (10**12, ("text_config", "vocab_size")),
        (10**9, ("text_config", "hidden_size")),
        (-1, ("text_config", "intermediate_size")),
        (0, ("text_config", "num_key_value_heads")),
        (4, ("text_config", "num_key_value_heads")),
        ("six", ("text_config", "num_hidden_layers")),
        (True, ("text_config", "num_hidden_layers")),
        (2.5, ("vision_config", "depth")),
        ([6], ("vision_config", "depth")),
        (None, ("vision_config",)),
        ([], ("text_config",)),
        (..., ("text_config", "hidden_size")),
        (0, ("vision_config", "patch_size")),
        (255, ("vision_config", "num_position_embeddings")),
        ([10**9], ("vision_config", "deepstack_visual_indexes")),
        ([10**9, 5, 5], ("text_config", "rope_scaling", "mrope_section")),
        (float("nan"), ("text_config", "rms_norm_eps")),
        (float("inf"), ("text_config", "rope_theta")),
        ("x", ("text_config", "rope_theta")),
        (-5, ("image_token_id",)),
        (10**12, ("text_config", "max_position_embeddings")),
    ],
)  # fmt: skip
def test_figures_that_no_model_has_are_refused(folder, value, keys):
    change(folder, value, *keys)
    start, before = time.monotonic(), psutil.Process().memory_info().rss
    with pytest.raises(InputError, match="config"):
        open_checkpoint(folder, device="cpu")
    with pytest.raises(InputError, match="config"):
        open_config(folder)
    assert time.monotonic() - start < 5
    assert psutil.Process().memory_info().rss - before < 2**26


@pytest.mark.parametrize(
    ("value", "keys"),
    [(10**12, ("size", "longest_edge")), ([0.5, 0.5, 0.0], ("image_std",)), ([0.5] * 9, ("image_mean",))],
)
def test_a_preprocessor_s_figures_have_bounds_too(folder, value, keys):
    change(folder, value, *keys, file="preprocessor_config.json")
    with pytest.raises(InputError, match="config cannot be right"):
        open_config(folder)


@pytest.mark.parametrize("text", ["[1, 2]", "{" * 100_000, '{"a":' * 100_000, "\0", '"x"', "3"])
def test_what_is_no_json_object_is_refused(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config.json"):
        open_config(folder)


def test_a_config_of_gigabytes_is_not_read(folder):
    with (folder / "config.json").open("w") as file:
        file.truncate(2**34)  # sparse
    with pytest.raises(InputError, match="too large"):
        open_config(folder)


@pytest.mark.parametrize(
    "name",
    ["../model.safetensors", "/etc/passwd", "sub/model.safetensors", "..", "", "model.bin", 7, f"{SINGLE}/"],
)  # fmt: skip
def test_an_index_names_safetensors_files_of_its_folder_only(folder, name):
    shutil.copy(folder / SINGLE, folder.parent / SINGLE)  # what lies outside would fit
    (folder / INDEX).write_text(json.dumps({"weight_map": {"model.visual.pos_embed.weight": name}}))
    with pytest.raises(InputError, match=INDEX):
        open_checkpoint(folder, device="cpu")


@pytest.mark.parametrize(
    "text", ["[]", "{}", '{"weight_map": [1]}', '{"weight_map": 3}', "", '{"a":' * 100_000]
)
def test_a_damaged_index_is_refused(folder, text):
    (folder / INDEX).write_text(text)
    with pytest.raises(InputError, match=INDEX):
        open_checkpoint(folder, device="cpu")


def tensors(header: dict | bytes, length: int | None = None, data: bytes = b"") -> bytes:
    body = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(body) if length is None else length) + body + data


@pytest.mark.parametrize(
    "content",
    [
        tensors({}, length=2**63),
        tensors({}, length=2**40),
        tensors(b"not json"),
        tensors({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}),
        tensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 10**15]}}, data=b"\0" * 4),
        tensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, data=b"\0" * 4),
        tensors({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, data=b"\0" * 4),
        tensors(
            {
                "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                "b": {"dtype": "F32", "shape": [1], "data_offsets": [2, 6]},
            },
            data=b"\0" * 6,
        ),
        b"",
        b"\x80\x04\x95pickle",
    ],
    ids=["length", "long", "json", "shape", "offset", "too short", "negative", "overlap", "empty", "pickle"],
)
def test_headers_that_lie_are_refused(folder, content):
    (folder / SINGLE).write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be read"):
        open_checkpoint(folder, device="cpu")


def test_pickled_weights_are_never_opened(folder):
    (folder / SINGLE).rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"model.safetensors"):
        open_checkpoint(folder, device="cpu")


def test_without_the_bounds_a_billion_layers_would_be_built(folder, monkeypatch):
    class Built(Exception):
        pass

    def build(config):
        raise Built(config.decoder.num_layers)

    change(folder, 10**9, "text_config", "num_hidden_layers")
    monkeypatch.setattr(bounds, "check", lambda config: config)
    monkeypatch.setattr(checkpoint, "VisionLanguageModel", build)
    with pytest.raises(Built, match="1000000000"):
        open_checkpoint(folder, device="cpu")


def test_code_in_a_checkpoint_never_runs(folder, tmp_path):
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass T: pass\nclass C: pass\n")
    for file in ("config.json", "tokenizer_config.json"):
        change(folder, {"AutoTokenizer": ["evil.T", None], "AutoConfig": "evil.C"}, "auto_map", file=file)
    change(folder, "EvilTokenizer", "tokenizer_class", file="tokenizer_config.json")
    try:
        open_checkpoint(folder, device="cpu")
    except InputError as error:
        assert "tokenizer" in str(error)
    assert not (tmp_path / "ran").exists()
