"""Strict reading and writing of official safetensors files.

One two-way table joins our parameter names and the official ones. Reading builds nothing twice: the
model stands on the meta device and every tensor is assigned from the memory-mapped file, shard by shard.
Quantised weights become so tensor by tensor, and a shard is let go before the next one is opened.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from vlm.records import InputError
from vlm.weights.banks import Bank
from vlm.weights.kept import Kept
from vlm.weights.quantize import quantisable, quantised, swap
from vlm.weights.stored import Shape, Stored

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
Table = dict[str, str]  # our parameter name → official name
PATCH_EMBED = "tower.patch_embed.weight"


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
    quantize: str = "none",
    stored: Stored | None = None,
) -> None:
    """Assign every parameter of a meta-device ``model`` from the files in ``folder``.

    Args:
        layouts: namings to try; the one with the fewest missing keys is taken.
        dtype: convert to this; None keeps the dtype on disk.
        quantize: none, nf4 or int8 for the decoder's matrices (`vlm.weights.quantize`), or ``stored``: as
            the files have them.
        stored: how the files hold the matrices; None: plainly.

    Raises:
        WeightsError: files, keys or shapes are missing, unknown or wrong; all of them are named.
    """
    stored, files = stored or Stored({}), _Files(list(_shards(folder)))
    shapes = stored.shapes(files.shapes(), files.get)
    files.close()
    tables = [key_table(model, renames) for renames in layouts]
    table = min(tables, key=lambda table: len(set(table.values()) - set(shapes)))
    _check_keys(set(shapes), table, tied=not any(name.endswith("lm_head.weight") for name in table))
    swapped = _experts_swapped(model, shapes, table)
    _check_shapes(model, shapes, table, swapped)
    kept = Kept(list(files.shards), quantize, torch.device(device), dtype)
    reader = _Reader(stored, files, swapped, torch.device(device), dtype, quantize, kept)
    names = {stored.key(official): (name, official) for name, official in table.items()}
    # Small models load before a bar could be read; tqdm itself stays quiet where stderr is no terminal.
    quiet = True if len(files.shards) == 1 else None
    for keys in tqdm(files.shards.values(), desc="loading weights", unit="file", disable=quiet):
        for key in (key for key in keys if key in names):
            _assign(model, names[key][0], reader.read(*names[key]))
        files.close()
    kept.write()
    model.requires_grad_(False).eval()


def save_weights(
    model: nn.Module, folder: Path, renames: tuple[tuple[str, str], ...], patch_shape: tuple[int, ...]
) -> None:
    """Write ``model.safetensors`` in the official layout.

    Args:
        patch_shape: (C, temporal, patch, patch), the shape of one flattened patch.
    """
    if any(isinstance(module, Bank) for module in model.modules()):
        raise WeightsError("a model in 4 or 8 bits cannot be saved: open it with quantize none and save that")
    table = key_table(model, renames)
    tensors = {
        table[name]: _to_official(name, parameter.detach().cpu(), patch_shape)
        for name, parameter in model.named_parameters()
    }
    save_file(tensors, folder / SINGLE, metadata={"format": "pt"})


def _shards(folder: Path) -> Iterator[Path]:
    if (folder / INDEX).is_file():
        for name in sorted(_named_in_index(folder / INDEX)):
            if Path(name).name != name:
                raise WeightsError(f"{INDEX} points outside its folder: {name}")
            if not name.endswith(".safetensors"):
                raise WeightsError(f"{INDEX} names {name}: only safetensors files are opened")
            yield folder / name
    elif (folder / SINGLE).is_file():
        yield folder / SINGLE
    else:
        raise WeightsError(
            f"no {SINGLE} and no {INDEX} in {folder.name}: is this a complete checkpoint folder?"
        )


def _named_in_index(index: Path) -> set[str]:
    try:
        return {str(name) for name in json.loads(index.read_text())["weight_map"].values()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{index.name} is damaged: fetch the checkpoint again") from error


def _stored_shapes(shard: Path) -> dict[str, Shape]:
    try:
        with safe_open(shard, framework="pt") as file:
            return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except Exception as error:  # safetensors raises its own type and OSError alike
        raise WeightsError(f"{shard.name} cannot be read: {error}") from error


def _check_keys(present: set[str], table: Table, tied: bool) -> None:
    expected = set(table.values())
    missing, unknown = expected - present, present - expected
    if tied:
        unknown -= {"lm_head.weight"}  # a copy of the embedding that some exports keep
    if missing or unknown:
        parts = [
            f"{label}: {_some(sorted(keys))}"
            for label, keys in (("missing", missing), ("unknown", unknown))
            if keys
        ]
        raise WeightsError(f"the weights do not fit this model; {'; '.join(parts)}")


def _experts_swapped(model: nn.Module, stored: dict[str, Shape], table: Table) -> bool:
    """Whether experts are stored (E, in, out), as on the hub; transformers 5 saves them (E, out, in).

    A square tensor says nothing, but gate_up (2 I, D) and down (D, I) are never both square, so one of
    them decides for all.
    """
    for name, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        if _is_expert(name) and shape[1] != shape[2]:
            return stored[table[name]] != shape
    return False


def _check_shapes(model: nn.Module, stored: dict[str, Shape], table: Table, swapped: bool) -> None:
    wrong = []
    for name, parameter in model.named_parameters():
        found, expected = stored[table[name]], tuple(parameter.shape)
        if name == PATCH_EMBED:
            found = (*found[:1], math.prod(found[1:]))
        elif _is_expert(name) and swapped:
            expected = (expected[0], expected[2], expected[1])
        if found != expected:
            wrong.append(f"{table[name]} is {stored[table[name]]} in the file and {expected} in the config")
    if wrong:
        raise WeightsError(f"wrong shapes: {_some(wrong)}")


def _some(items: list[str]) -> str:
    return f"{', '.join(items[:8])}{' …' if len(items) > 8 else ''} ({len(items)})"


class _Files:
    """The tensors of all shards by name. A file is opened when first asked and stays so until `close`."""

    def __init__(self, shards: list[Path]):
        self.shards = {shard: _stored_shapes(shard) for shard in shards}
        self._where = {key: shard for shard, keys in self.shards.items() for key in keys}
        self._open, self._stack = {}, ExitStack()

    def shapes(self) -> dict[str, Shape]:
        return {key: shape for keys in self.shards.values() for key, shape in keys.items()}

    def get(self, key: str) -> Tensor:
        if key not in self._where:
            raise WeightsError(f"the weights do not fit this model; missing: {key}")
        shard = self._where[key]
        if shard not in self._open:
            self._open[shard] = self._stack.enter_context(safe_open(shard, framework="pt", device="cpu"))
        return self._open[shard].get_tensor(key)

    def close(self) -> None:
        """Let go of all files; a file stays mapped only for tensors that still lie in it."""
        self._open.clear()
        self._stack.close()


@dataclass(frozen=True)
class _Reader:
    """Gives one parameter after the other, in the form in which the model will keep it."""

    stored: Stored
    files: _Files
    swapped: bool  # experts lie transposed in the files
    device: torch.device
    dtype: torch.dtype | None
    quantize: str
    kept: Kept

    def read(self, name: str, official: str) -> Tensor | Bank:
        # Of a plain file the weights lie in its mapping. What is changed on the way must not keep that
        # alive, and the memory of pages once read goes only with the mapping.
        bank = self.kept.get(name)
        if bank is not None:
            return bank
        if self.quantize == "none" and not self.stored.settings:
            tensor = self._dense(name, self.files.get(official))
            return tensor.to(device=self.device, dtype=self.dtype)
        try:
            return self._changed(name, self.stored.read(official, self.files.get, self.device, self.dtype))
        finally:
            self.files.close()

    def _changed(self, name: str, value: Tensor | Bank) -> Tensor | Bank:
        wanted = self.quantize if quantisable(name) else "none"
        if isinstance(value, Bank):
            if wanted in ("stored", self.stored.mode):
                return value
            value = value.dense(0)
        if wanted in ("none", "stored"):
            return self._dense(name, value).to(device=self.device, dtype=self.dtype, copy=True)
        bank = quantised(_from_official(name, value, self.swapped), wanted, self.device, self.dtype)
        self.kept.put(name, bank)
        return bank

    def _dense(self, name: str, tensor: Tensor) -> Tensor:
        return _from_official(name, tensor, self.swapped).contiguous()


def _assign(model: nn.Module, name: str, value: Tensor | Bank) -> None:
    if isinstance(value, Bank):
        swap(model, name, value)
        return
    owner_name, _, leaf = name.rpartition(".")
    owner = model.get_submodule(owner_name)
    owner.register_parameter(leaf, nn.Parameter(value, requires_grad=False))


def _from_official(name: str, tensor: Tensor, swapped: bool) -> Tensor:
    """Undo the two differences in shape: Conv3d patch embeddings, and experts stored (E, in, out)."""
    if name == PATCH_EMBED:
        return tensor.flatten(1)
    if _is_expert(name) and swapped:
        return tensor.transpose(1, 2)
    return tensor


def official_shape(name: str, shape: Shape, patch_shape: Shape) -> Shape:
    """Shape in an official file of our parameter ``name``."""
    if name == PATCH_EMBED:
        return (shape[0], *patch_shape)
    return (shape[0], shape[2], shape[1]) if _is_expert(name) else shape


def _to_official(name: str, tensor: Tensor, patch_shape: Shape) -> Tensor:
    if _is_expert(name):
        tensor = tensor.transpose(1, 2)
    elif name == PATCH_EMBED:
        tensor = tensor.view(official_shape(name, tuple(tensor.shape), patch_shape))
    return tensor.contiguous()


def _is_expert(name: str) -> bool:
    """Expert weights are bare parameters of the MLP; a dense MLP's end in ``.weight``."""
    return name.endswith((".gate_up_proj", ".mlp.down_proj"))
