"""What a model may be called, and what is said when there is no such model."""

from __future__ import annotations

import huggingface_hub
import pytest
import torch

from vlm.families.checkpoint import open_checkpoint, open_config, resolve_device
from vlm.families.naming import TINY, find_folder, presets, read_files, tokenizer_folder
from vlm.models.backends import resolve_backend
from vlm.records import InputError


def test_tiny_and_folders_are_found_without_the_hub(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", None)
    assert find_folder("tiny", weights=True) == TINY == find_folder(TINY, weights=True)


@pytest.mark.parametrize("weights", [False, True])
def test_a_hub_id_fetches_only_what_is_needed(monkeypatch, weights):
    asked = {}

    def download(repository, allow_patterns):
        asked.update(repository=repository, patterns=allow_patterns)
        return str(TINY)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert find_folder("Qwen/Qwen3-VL-2B-Instruct", weights=weights) == TINY
    assert asked["repository"] == "Qwen/Qwen3-VL-2B-Instruct"
    assert ("*.safetensors" in asked["patterns"]) is weights
    assert not any(pattern.endswith((".py", ".bin", ".pt")) for pattern in asked["patterns"])


def test_a_hub_that_cannot_be_reached_is_said_in_one_sentence():
    with pytest.raises(InputError, match="could not be fetched from the hub"):
        find_folder("nobody/no-such-model", weights=False)


@pytest.mark.parametrize("name", ["no such model", "", "a/b/c"])
def test_unknown_names_say_what_may_be_given(name):
    with pytest.raises(InputError, match="tiny"):
        find_folder(name or "no", weights=False)


@pytest.mark.parametrize("name", presets())
def test_every_preset_has_a_config_and_no_tokenizer(name):
    config, tokenizer = open_config(name)
    assert tokenizer is None and tokenizer_folder(name) is None
    assert config.pixels.factor in (28, 32)
    with pytest.raises(InputError, match="preset"):
        open_checkpoint(name)


def test_broken_json_and_missing_config_are_named(tmp_path):
    with pytest.raises(InputError, match=r"config\.json"):
        read_files(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json is not valid JSON"):
        read_files(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(InputError, match="llama"):
        open_config(tmp_path)


def test_devices_dtypes_and_backends_are_checked():
    assert resolve_device("auto").type in ("cpu", "cuda")
    with pytest.raises(InputError, match="not known"):
        resolve_device("toaster")
    with pytest.raises(InputError, match="dtype"):
        open_checkpoint("tiny", dtype="int3")
    # On a CPU the embedded model is quicker in float32; asked for in few bits it stays what the banks take.
    assert open_checkpoint("tiny", device="cpu", dtype="fast").model.dtype == torch.float32
    assert open_checkpoint("tiny", device="cpu").model.dtype == torch.bfloat16
    assert open_checkpoint("tiny", device="cpu", dtype="fast", quantize="int8").model.dtype == torch.bfloat16
    cpu = resolve_device("cpu")
    assert resolve_backend("auto", cpu, torch.float32) == "sdpa"
    with pytest.raises(InputError, match="CUDA"):
        resolve_backend("flash", cpu, torch.float32)
    with pytest.raises(InputError, match="not known"):
        resolve_backend("magic", cpu, torch.float32)
