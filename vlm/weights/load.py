"""Strict reading and writing of official safetensors files.

One two-way table joins our parameter names and the official ones. Reading builds nothing twice: the
model stands on the meta device and every tensor is assigned from the memory-mapped file, shard by shard.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vlm.records import InputError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
Table = dict[str, str]  # our parameter name → official name


class WeightsError(InputError):
    """The weight files do not fit the model; the message names the keys."""


def key_table(model: nn.Module, renames: tuple[tuple[str, str], ...]) -> Table:
    """Official name of every parameter of ``model``."""
    table = {}
    for name, _ in model.named_parameters():
        official = name
        for ours, theirs in renames:
            official = official.replace(ours, theirs)
        table[name] = official
    if len(set(table.values())) != len(table):
        raise ValueError("two parameters share one official name")
    return table


def read_weights(
    model: nn.Module,
    folder: Path,
    layouts: tuple[tuple[tuple[str, str], ...], ...],
    *,
    device: torch.device | str,
    dtype: torch.dtype | None,
) -> None:
    """Assign every parameter of a meta-device ``model`` from the files in ``folder``.

    Args:
        layouts: namings to try; the one with the fewest missing keys is taken.
        dtype: convert to this; None keeps the dtype on disk.

    Raises:
        WeightsError: files, keys or shapes are missing, unknown or wrong; all of them are named.
    """
    shards = list(_shards(folder))
    present = {key for shard in shards for key in _keys(shard)}
    tables = [key_table(model, renames) for renames in layouts]
    table = min(tables, key=lambda table: len(set(table.values()) - present))
    _check_keys(present, table, tied=not any(name.endswith("lm_head.weight") for name in table))
    ours = {official: name for name, official in table.items()}
    for shard in shards:
        _assign_shard(model, shard, ours, device, dtype)
    model.requires_grad_(False).eval()


def save_weights(
    model: nn.Module, folder: Path, renames: tuple[tuple[str, str], ...], patch_shape: tuple[int, ...]
) -> None:
    """Write ``model.safetensors`` in the official layout.

    Args:
        patch_shape: (C, temporal, patch, patch), the shape of one flattened patch.
    """
    table = key_table(model, renames)
    tensors = {
        table[name]: _to_official(name, parameter.detach().cpu(), patch_shape)
        for name, parameter in model.named_parameters()
    }
    save_file(tensors, folder / SINGLE, metadata={"format": "pt"})


def _shards(folder: Path) -> Iterator[Path]:
    if (folder / INDEX).is_file():
        names = set(json.loads((folder / INDEX).read_text())["weight_map"].values())
        for name in sorted(names):
            if Path(name).name != name:
                raise WeightsError(f"{INDEX} points outside its folder: {name}")
            yield folder / name
    elif (folder / SINGLE).is_file():
        yield folder / SINGLE
    else:
        raise WeightsError(f"no {SINGLE} and no {INDEX} in {folder.name}: is this a complete checkpoint folder?")


def _keys(shard: Path) -> list[str]:
    try:
        with safe_open(shard, framework="pt") as file:
            return list(file.keys())
    except Exception as error:  # safetensors raises its own type and OSError alike
        raise WeightsError(f"{shard.name} cannot be read: {error}") from error


def _check_keys(present: set[str], table: Table, tied: bool) -> None:
    expected = set(table.values())
    missing, unknown = expected - present, present - expected
    if tied:
        unknown -= {"lm_head.weight"}  # a copy of the embedding that some exports keep
    if missing or unknown:
        parts = [
            f"{label}: {', '.join(sorted(keys)[:8])}{' …' if len(keys) > 8 else ''} ({len(keys)})"
            for label, keys in (("missing", missing), ("unknown", unknown))
            if keys
        ]
        raise WeightsError(f"the weights do not fit this model; {'; '.join(parts)}")


def _assign_shard(model: nn.Module, shard: Path, ours: Table, device, dtype) -> None:
    with safe_open(shard, framework="pt", device="cpu") as file:
        for official in file.keys():  # noqa: SIM118 (safe_open is no mapping)
            if official in ours:
                _assign(model, ours[official], file.get_tensor(official), device, dtype)


def _assign(model: nn.Module, name: str, tensor: Tensor, device, dtype) -> None:
    owner_name, _, leaf = name.rpartition(".")
    owner = model.get_submodule(owner_name)
    tensor = _from_official(name, tensor, getattr(owner, leaf).shape)
    owner.register_parameter(leaf, nn.Parameter(tensor.to(device=device, dtype=dtype), requires_grad=False))


def _from_official(name: str, tensor: Tensor, shape: torch.Size) -> Tensor:
    """Undo the two differences in shape: Conv3d patch embeddings, and experts stored (E, in, out)."""
    if name == "tower.patch_embed.weight":
        tensor = tensor.flatten(1)
    elif _is_expert(name):
        tensor = tensor.transpose(1, 2).contiguous()
    if tensor.shape != shape:
        raise WeightsError(f"{name} has shape {tuple(tensor.shape)} in the file and {tuple(shape)} in the config")
    return tensor


def _to_official(name: str, tensor: Tensor, patch_shape: tuple[int, ...]) -> Tensor:
    if name == "tower.patch_embed.weight":
        tensor = tensor.view(len(tensor), *patch_shape)
    elif _is_expert(name):
        tensor = tensor.transpose(1, 2)
    return tensor.contiguous()


def _is_expert(name: str) -> bool:
    """Expert weights are bare parameters of the MLP; a dense MLP's end in ``.weight``."""
    return name.endswith((".gate_up_proj", ".mlp.down_proj"))
